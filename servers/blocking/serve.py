"""One blocking connection from accept to close, shared by every server in this family (S1, M1).

The thread sleeps in recv(2) until data has arrived and been copied: both phases of the read block.
It also sleeps in send(2) when the client is slow, and in sleep when the application waits. It does
nothing else in the meantime: that is both the simplicity and the cost of this model.

Fact: a signal that arrives just before a blocking call does not interrupt it, and Python restarts
calls that a signal did interrupt (PEP 475). Decision: accept, recv and send time out after half a
second (SO_RCVTIMEO, SO_SNDTIMEO; man socket(7)), check the deadline and the stop flag, and retry.
Trade-off: a sleeping process wakes twice a second.
"""

import errno
import logging
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from servers.common.connection import client_of, reset
from servers.common.session import (
    CLOSE,
    READ,
    RECEIVE,
    SENDFILE,
    SHUTDOWN,
    WAIT,
    WRITE,
    Session,
)

log = logging.getLogger("servers")

TICK: Final = 0.5
"""Seconds until a blocking call times out, to check the deadline and the stop flag."""

IDLE: Final = 5.0
"""Seconds that a kept connection may hold its process or thread; Apache's KeepAliveTimeout."""

_TICK: Final = struct.pack("ll", 0, int(TICK * 1e6))  # struct timeval
_REST: Final = 0.1  # seconds without accepting after EMFILE
_PIECE: Final = 1 << 20  # bytes for one sendfile


def make_blocking(sock: socket.socket) -> None:
    """Let calls on `sock` block, for at most TICK seconds."""
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TICK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TICK)


def accept(listener: socket.socket) -> socket.socket | None:
    """Sleep until a client connects; None if none does within TICK, or accept fails."""
    try:
        return listener.accept()[0]
    except (BlockingIOError, ConnectionError):
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:  # shut down
            return None
        log.warning("cannot accept, trying again in %g s: %s", _REST, error.strerror)
        time.sleep(_REST)
        return None


def serve(sock: socket.socket, stopping: Callable[[], bool]) -> None:
    """Serve one client until either side closes; closes the socket."""
    with sock:
        make_blocking(sock)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session(client_of(sock), time.monotonic(), IDLE)
        try:
            while session.need != CLOSE:
                _step(sock, session, stopping)
        except OSError:  # reset or disconnected: no answer can reach the client
            pass
        finally:
            if session.unfinished:
                reset(sock)
            session.close()


def _step(sock: socket.socket, session: Session, stopping: Callable[[], bool]) -> None:
    """Do the one thing that the session needs; sleeps until it is done or TICK has passed."""
    need = session.need
    try:
        if need == READ:
            data = sock.recv(RECEIVE)
            session.receive(data, time.monotonic())
        elif need == WRITE:
            count = sock.send(session.output)
            session.sent(count, time.monotonic())
        elif need == WAIT:
            time.sleep(session.pause)
            session.resume(time.monotonic())
        elif need == SENDFILE:
            file = session.file
            assert file is not None
            count = min(file.length, _PIECE)
            count = os.sendfile(sock.fileno(), file.descriptor, file.offset, count)
            session.sent(count, time.monotonic())
        elif need == SHUTDOWN:
            sock.shutdown(socket.SHUT_WR)
            session.shut(time.monotonic())
    except BlockingIOError:
        now = time.monotonic()
        if now >= session.deadline:
            session.expire(now)
    if stopping():
        session.drain()
