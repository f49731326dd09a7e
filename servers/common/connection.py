"""A nonblocking socket and its session: the steps that all event-driven servers share.

`read` and `work` never wait. If `work` cannot continue, it returns what the session needs; servers
differ only in how they learn that the kernel is ready for it. A long answer to a fast reader could
keep a single-threaded server busy for seconds, so `work` returns AGAIN after a few sends, and the
server serves other connections first.
"""

import os
import socket
import struct
from typing import Final

from servers.common.session import (
    CLOSE,
    IDLE,
    READ,
    RECEIVE,
    SENDFILE,
    SHUTDOWN,
    WAIT,
    WRITE,
    Session,
)

AGAIN: Final = 6
"""In addition to the needs of a session: there is more to send, and the kernel would accept it."""

TURN: Final = 16
"""Sends per connection before other connections are served."""

_FILE_PIECE: Final = 1 << 20  # bytes per sendfile
_NOW: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, so the client sees truncation


class Connection:
    """A client's connection; `sock` is nonblocking from here on."""

    __slots__ = ("fd", "interest", "pausing", "session", "sock")

    def __init__(self, sock: socket.socket, now: float, idle: float = IDLE) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.fd = sock.fileno()
        self.session = Session(client_of(sock), now, idle)
        self.interest = -1  # what the server currently waits for, in its own terms
        self.pausing = False  # whether the timer of an application's pause is running

    @property
    def sending(self) -> bool:
        """Whether there is something to send: `work` continues when the kernel accepts it."""
        return self.session.need in (WRITE, SENDFILE)

    def read(self, now: float) -> int:
        """Receive once, if the session wants bytes; return their number, or -1 if none have come.

        Fewer than RECEIVE: the kernel has no more bytes, though perhaps the client's FIN.
        """
        if self.session.need != READ:
            return -1
        try:
            data = self.sock.recv(RECEIVE)
        except BlockingIOError:
            return -1
        except OSError:  # reset
            self.session.need = CLOSE
            return 0
        self.session.receive(data, now)
        return len(data)

    def work(self, now: float) -> int:
        """Do what the session needs until that would block; return what to do next.

        READ: wait for bytes. WRITE: wait until the socket is writable. WAIT: wait `session.pause`
        seconds. CLOSE: close the connection. AGAIN: call `work` again after other connections.
        """
        session = self.session
        try:
            for _ in range(TURN):
                need = session.need
                if need == WRITE:
                    session.sent(self.sock.send(session.output), now)
                elif need in (READ, WAIT, CLOSE):
                    return need
                elif need == SENDFILE:
                    self._send_file(now)
                elif need == SHUTDOWN:
                    self.sock.shutdown(socket.SHUT_WR)
                    session.shut(now)
        except BlockingIOError:
            return WRITE
        except OSError:  # reset, or the client no longer reads
            return CLOSE
        return session.need if session.need in (READ, WAIT, CLOSE) else AGAIN

    def _send_file(self, now: float) -> None:
        file = self.session.file
        assert file is not None
        count = min(file.length, _FILE_PIECE)
        self.session.sent(os.sendfile(self.fd, file.descriptor, file.offset, count), now)

    def close(self) -> None:
        """Close; an unfinished answer ends with a reset, so that the client sees the truncation."""
        if self.session.unfinished:
            reset(self.sock)
        self.session.close()
        self.sock.close()


def client_of(sock: socket.socket) -> str:
    """Return the peer's IP address, or "unix:"."""
    if sock.family == socket.AF_UNIX:
        return "unix:"
    try:
        return str(sock.getpeername()[0])
    except OSError:  # already disconnected: reading will report it
        return ""


def reset(sock: socket.socket) -> None:
    """Make close() send RST."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
    except OSError:
        pass
