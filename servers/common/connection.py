"""A nonblocking socket and its session: the steps that every event-driven server takes.

`read` and `work` try and never wait. What `work` cannot do now it returns as the session's need,
and only then do the servers differ: in how they learn that the kernel is ready. A long answer to
a fast reader could keep a single-threaded server busy for seconds; so `work` ends after a few
sends with AGAIN, and the server looks at the others first.
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
"""Beside the needs of a session: there is more to send, and the kernel would take it."""

TURN: Final = 16
"""Sends of one connection before the others have their turn."""

_FILE_PIECE: Final = 1 << 20  # bytes for one sendfile
_NOW: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, so that a cut is seen


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
        self.interest = -1  # what the server waits for at present, in its own terms
        self.pausing = False  # the timer of an application's pause runs

    @property
    def sending(self) -> bool:
        """Whether something is to be sent: `work` goes on when the kernel takes it."""
        return self.session.need in (WRITE, SENDFILE)

    def read(self, now: float) -> int:
        """Receive once, if the session wants bytes; return how many came, -1: none yet.

        Fewer than RECEIVE: the kernel holds no more, but perhaps the client's FIN.
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
        """Do what the session needs, as far as the kernel takes it; return what is left.

        READ: wait for bytes. WRITE: the kernel takes no more. WAIT: wait `session.pause` seconds.
        CLOSE: close it. AGAIN: call it again, after the others.
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
        except OSError:  # reset, or the client does not read any more
            return CLOSE
        return session.need if session.need in (READ, WAIT, CLOSE) else AGAIN

    def _send_file(self, now: float) -> None:
        file = self.session.file
        assert file is not None
        count = min(file.length, _FILE_PIECE)
        self.session.sent(os.sendfile(self.fd, file.descriptor, file.offset, count), now)

    def close(self) -> None:
        """Close; an answer that is not finished is cut by a reset, so that it shows."""
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
    except OSError:  # it is gone already; reading will tell
        return ""


def reset(sock: socket.socket) -> None:
    """Have close() send RST."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
    except OSError:
        pass
