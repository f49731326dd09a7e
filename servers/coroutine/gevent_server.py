"""gevent: greenlets, which are coroutines with a stack of their own, over libev (S8).

The code is the blocking server's, to the letter, and no `yield` is in it: gevent's socket switches
to another greenlet, from however deep in the calls, where the kernel's would block. So libraries
that block can be used by replacing their sockets. The price is a saved stack for each connection,
and switches that the source does not show.
"""

import os
import socket
import time
from typing import Any

import gevent
import gevent.socket

from servers.connection import client_of, reset
from servers.event_server import descriptor_limit, log
from servers.session import CLOSE, READ, RECEIVE, SENDFILE, SHUTDOWN, WAIT, WRITE, Session
from servers.spec import Options
from servers.stopping import GRACE, Waker

_PIECE = 1 << 20  # bytes for one sendfile


class Gevent:
    """The server."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._limit = min(options.connections, descriptor_limit())
        self._waker = Waker()
        self._clients: dict[Any, Session] = {}  # by greenlet
        self._stopping = False

    def run(self) -> None:
        """Serve until stopped."""
        self._waker.wake_on_signals()
        acceptor = gevent.spawn(self._accept)
        gevent.socket.wait_read(self._waker.fileno())
        acceptor.kill()
        self._stopping = True
        gevent.killall([g for g, session in self._clients.items() if session.idle])
        gevent.joinall(list(self._clients), timeout=GRACE)
        gevent.killall(list(self._clients))

    def _accept(self) -> None:
        while True:
            gevent.socket.wait_read(self._listener.fileno())
            if len(self._clients) >= self._limit:
                gevent.sleep(0.1)  # the others wait in the backlog
                continue
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                continue
            except OSError as error:  # EMFILE, ENFILE, ENOBUFS, ENOMEM
                log.warning("cannot accept, trying again in 0.1 s: %s", error.strerror)
                gevent.sleep(0.1)
                continue
            client = Session(client_of(sock), time.monotonic())
            self._clients[gevent.spawn(self._serve, sock, client)] = client

    def _serve(self, accepted: socket.socket, session: Session) -> None:
        """Serve one client until either side has had enough."""
        family = accepted.family
        sock = gevent.socket.socket(family, socket.SOCK_STREAM, fileno=accepted.detach())
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while session.need != CLOSE:
                self._step(sock, session)
                if self._stopping:
                    session.drain()
        except OSError:  # reset, or gone: nobody to tell
            pass
        finally:
            if session.unfinished:
                reset(sock)
            session.close()
            sock.close()
            del self._clients[gevent.getcurrent()]

    def _step(self, sock: Any, session: Session) -> None:
        need = session.need
        sock.settimeout(max(0.001, min(session.deadline - time.monotonic(), 3600.0)))
        try:
            if need == READ:
                data = sock.recv(RECEIVE)
                session.receive(data, time.monotonic())
            elif need == WRITE:
                count = sock.send(session.output)
                session.sent(count, time.monotonic())
            elif need == WAIT:
                gevent.sleep(session.pause)
                session.resume(time.monotonic())
            elif need == SENDFILE:
                self._send_file(sock, session)
            elif need == SHUTDOWN:
                sock.shutdown(socket.SHUT_WR)
                session.shut(time.monotonic())
        except BlockingIOError:  # sendfile: somebody else's turn, then again
            gevent.sleep(0)
        except TimeoutError:
            session.expire(time.monotonic())

    def _send_file(self, sock: Any, session: Session) -> None:
        """Send a piece by sendfile, which gevent does not have: wait until it would not block."""
        file = session.file
        assert file is not None
        gevent.socket.wait_write(sock.fileno(), timeout=10.0, timeout_exc=TimeoutError())
        count = min(file.length, _PIECE)
        count = os.sendfile(sock.fileno(), file.descriptor, file.offset, count)
        session.sent(count, time.monotonic())

    def stop(self) -> None:
        """Take no more connections, let running requests finish (GRACE), then return."""
        self._waker.wake()

    def close(self) -> None:
        """Close everything."""
        self._listener.close()
        self._waker.close()
