"""One connection of the pool: it can be closed and reopened, and keeps its number and counts."""

import errno
import socket
from collections.abc import Callable
from typing import Final

from loadtest.openloop.answer import Reader
from loadtest.openloop.plan import Target

_KINDS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "timeout",
    errno.EAGAIN: "backlog",  # the backlog of a unix socket's listener is full
}


class CannotConnect(OSError):
    """Connecting failed at once, or the connection is closed."""


def kind_of(error: OSError) -> str:
    """Return the kind that an error counts as."""
    if isinstance(error, TimeoutError):
        return "timeout"
    number = error.errno or 0
    return _KINDS.get(number) or errno.errorcode.get(number, "unknown")


def _cannot_send(_data: bytes | memoryview) -> int:
    raise CannotConnect(errno.ENOTCONN, "not connected")


def _cannot_receive(_size: int) -> bytes:
    raise CannotConnect(errno.ENOTCONN, "not connected")


class Connection:
    """A reusable connection with at most one request in flight."""

    __slots__ = (
        "_socket", "_target", "busy", "count", "fd", "freed", "intended", "number", "reader",
        "receive", "send", "unsent",
    )  # fmt: skip

    def __init__(self, target: Target, number: int) -> None:
        self._target = target
        self._socket: socket.socket | None = None
        self.number = number
        self.fd = -1  # -1: not connected
        self.busy = False
        self.intended = 0.0  # when its request should have been sent
        self.freed = 0.0  # when its last answer was complete
        self.count = 0  # answers
        self.reader: Reader | None = None  # of a partially received answer
        self.unsent: memoryview | None = None  # the unsent rest of its request
        self.send: Callable[[bytes | memoryview], int] = _cannot_send
        self.receive: Callable[[int], bytes] = _cannot_receive

    def open(self, seconds: float = 0.0) -> None:
        """Begin to connect; with `seconds`, wait until it is connected. OSError on failure."""
        made = socket.socket(self._target.family, socket.SOCK_STREAM)
        try:
            if self._target.family != socket.AF_UNIX:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.settimeout(seconds)
            number = made.connect_ex(self._target.address)
            if number == errno.EAGAIN and self._target.family != socket.AF_UNIX:
                number = errno.ETIMEDOUT  # connect_ex returns EAGAIN when its timeout expires
            if number not in (0, errno.EINPROGRESS):
                raise CannotConnect(number, errno.errorcode.get(number, ""))
            made.setblocking(False)
        except BaseException:
            made.close()
            raise
        self._socket, self.fd = made, made.fileno()
        self.send, self.receive = made.send, made.recv

    def close(self) -> None:
        """Close the connection if it is open; the next request opens it again."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self.fd = None, -1
        self.send, self.receive = _cannot_send, _cannot_receive
        self.reader = self.unsent = None
