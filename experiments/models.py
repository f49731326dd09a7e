"""The five I/O models, each reading one datagram, and noting the time of what it does.

What all share is in `Model`; `reading` sends the datagram, and looks from outside.
"""

import os
import select
import signal
import socket
import time
from dataclasses import dataclass
from fcntl import F_GETFL, F_SETFL, F_SETOWN, fcntl
from types import FrameType
from typing import Final

from experiments.uring import Ring


@dataclass(slots=True)
class Marks:
    """What the reader noted; times in ns of the monotonic clock."""

    call: int = 0
    """It began to wait."""
    told: int = 0
    """It knew that there is something: the multiplexer returned, the signal came."""
    copy: int = 0
    """It began the call that copied; of an asynchronous read: it looked, last in vain."""
    done: int = 0
    """The data were in its memory, and it knew."""
    calls: int = 0
    """System calls from `call` to `done`."""
    refused: int = 0
    """Of these, answered by EAGAIN."""
    work: int = 0
    """Turns of other work, done meanwhile."""


class Model:
    """A way to read; `read` is timed, what comes before and after it is not."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def read(self, buffer: bytearray) -> Marks:
        """Read one datagram."""
        raise NotImplementedError

    def close(self) -> None:
        """Put back what was changed."""


class Blocking(Model):
    """recv(2) sleeps until there is something, copies it, and returns."""

    def read(self, buffer: bytearray) -> Marks:
        """Call once."""
        begin = time.monotonic_ns()
        self.sock.recv_into(buffer)
        done = time.monotonic_ns()
        return Marks(begin, begin, begin, done, calls=1)


class Nonblocking(Model):
    """recv(2) returns an error at once as long as there is nothing; so it is asked again."""

    def read(self, buffer: bytearray) -> Marks:
        """Ask until there is an answer."""
        self.sock.setblocking(False)
        receive, now = self.sock.recv_into, time.monotonic_ns
        refused = 0
        begin = asked = now()
        while True:
            try:
                receive(buffer)
                break
            except BlockingIOError:
                refused += 1
                asked = now()
        done = now()
        return Marks(begin, asked, asked, done, calls=refused + 1, refused=refused)


class Multiplexing(Model):
    """epoll_wait(2) sleeps until one of all descriptors has something; then recv(2) copies it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.poller = select.epoll()
        self.poller.register(sock, select.EPOLLIN)

    def read(self, buffer: bytearray) -> Marks:
        """Two calls."""
        begin = time.monotonic_ns()
        self.poller.poll()
        told = time.monotonic_ns()
        self.sock.recv_into(buffer)
        done = time.monotonic_ns()
        return Marks(begin, told, told, done, calls=2)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self.poller.close()


class SignalDriven(Model):
    """The process works; SIGIO interrupts it when there is something; then recv(2) copies it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.told = 0
        self.before = signal.signal(signal.SIGIO, self._on_signal)
        fcntl(sock, F_SETOWN, os.getpid())
        fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) | os.O_ASYNC)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self.told:
            self.told = time.monotonic_ns()

    def read(self, buffer: bytearray) -> Marks:
        """Work until told."""
        work = 0
        begin = time.monotonic_ns()
        while not self.told:
            work += 1
        copy = time.monotonic_ns()
        self.sock.recv_into(buffer)
        done = time.monotonic_ns()
        return Marks(begin, self.told, copy, done, calls=1, work=work)

    def close(self) -> None:
        """No more signals."""
        fcntl(self.sock, F_SETFL, fcntl(self.sock, F_GETFL) & ~os.O_ASYNC)
        signal.signal(signal.SIGIO, self.before)


class Asynchronous(Model):
    """io_uring: the read is handed over; the process works; the kernel copies, then says so."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.ring = Ring()

    def read(self, buffer: bytearray) -> Marks:
        """Hand over, then work, and look at shared memory, until it is done."""
        look, now = self.ring.look, time.monotonic_ns
        work = 0
        begin = now()
        self.ring.receive(self.sock.fileno(), buffer)
        looked = now()
        while look() is None:
            work += 1
            looked = now()
        done = now()
        return Marks(begin, done, looked, done, calls=1, work=work)

    def close(self) -> None:
        """Free the ring."""
        self.ring.close()


MODELS: Final[dict[str, type[Model]]] = {
    "blocking": Blocking,
    "nonblocking": Nonblocking,
    "multiplexing": Multiplexing,
    "signal-driven": SignalDriven,
    "asynchronous": Asynchronous,
}
"""In the order of Stevens."""
