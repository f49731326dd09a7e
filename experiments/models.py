"""The five I/O models: each reads one datagram and timestamps its steps.

`Model` is the common interface; `reading` sends the datagram and observes from outside.
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
    """What the reader recorded; times are ns of the monotonic clock."""

    call: int = 0
    """The wait began."""
    told: int = 0
    """The reader learned that data is ready: the multiplexer returned, the signal arrived."""
    copy: int = 0
    """The copying call began; for an asynchronous read: the last look that found it unfinished."""
    done: int = 0
    """The data was in the buffer and the reader knew it."""
    calls: int = 0
    """System calls from `call` to `done`."""
    refused: int = 0
    """How many of these calls returned EAGAIN."""
    work: int = 0
    """Turns of other work done in the meantime."""


class Model:
    """One way to read. `read` is timed; setup and close are not."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def read(self, buffer: bytearray) -> Marks:
        """Read one datagram."""
        raise NotImplementedError

    def close(self) -> None:
        """Undo the setup."""


class Blocking(Model):
    """recv(2) sleeps until data arrives, copies it and returns."""

    def read(self, buffer: bytearray) -> Marks:
        """Call recv once."""
        begin = time.monotonic_ns()
        self.sock.recv_into(buffer)
        done = time.monotonic_ns()
        return Marks(begin, begin, begin, done, calls=1)


class Nonblocking(Model):
    """recv(2) returns EAGAIN at once while there is no data, so the reader keeps calling it."""

    def read(self, buffer: bytearray) -> Marks:
        """Call recv until it returns data."""
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
    """epoll_wait(2) sleeps until one of its descriptors has data; then recv(2) copies it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.poller = select.epoll()
        self.poller.register(sock, select.EPOLLIN)

    def read(self, buffer: bytearray) -> Marks:
        """Call epoll_wait, then recv."""
        begin = time.monotonic_ns()
        self.poller.poll()
        ready = time.monotonic_ns()
        self.sock.recv_into(buffer)
        done = time.monotonic_ns()
        return Marks(begin, ready, ready, done, calls=2)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self.poller.close()


class SignalDriven(Model):
    """The process works; SIGIO interrupts it when data arrives; then recv(2) copies it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.signalled = 0  # when the first SIGIO arrived
        self.before = signal.signal(signal.SIGIO, self._on_signal)
        fcntl(sock, F_SETOWN, os.getpid())
        fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) | os.O_ASYNC)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self.signalled:
            self.signalled = time.monotonic_ns()

    def read(self, buffer: bytearray) -> Marks:
        """Work until the signal arrives, then call recv."""
        work = 0
        begin = time.monotonic_ns()
        while not self.signalled:
            work += 1
        copy = time.monotonic_ns()
        self.sock.recv_into(buffer)
        done = time.monotonic_ns()
        return Marks(begin, self.signalled, copy, done, calls=1, work=work)

    def close(self) -> None:
        """Turn off the signals and restore the old handler."""
        fcntl(self.sock, F_SETFL, fcntl(self.sock, F_GETFL) & ~os.O_ASYNC)
        signal.signal(signal.SIGIO, self.before)


class Asynchronous(Model):
    """io_uring: the process submits a read and works; the kernel copies and reports completion."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.ring = Ring()

    def read(self, buffer: bytearray) -> Marks:
        """Submit the read, then work and look at the shared ring until the read is done."""
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
"""Models by name, in the order of Stevens' book."""
