"""The event loop of one process: level-triggered epoll, a clock, and deadlines swept together.

Facts. epoll_wait is the only call here that every request pays, and many ready descriptors share
one of it; epoll_ctl is a system call too. A timer per request costs a heap operation twice.

Decisions. A descriptor is registered once, for reading, and its interest is changed only when a
peer does not take what it is sent. The time is read once per batch of events. A timeout is an
attribute `deadline` that is overwritten at every step, and a sweep over all objects looks at it a
few times per second: setting one costs a store, and a timeout may come late by one sweep.

Trade-off. A sweep costs some 50 ns for each open connection, idle ones too: 20,000 of them are
1 ms, four times per second.
"""

import gc
import select
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol

READ: Final = select.EPOLLIN | select.EPOLLRDHUP
WRITE: Final = select.EPOLLOUT
HANGUP: Final = select.EPOLLRDHUP
BROKEN: Final = select.EPOLLHUP | select.EPOLLERR

NEVER: Final = float("inf")

_SWEEP: Final = 0.25  # seconds between two looks at the deadlines, at most


class Timed(Protocol):
    """What a sweep looks at."""

    deadline: float

    def on_deadline(self) -> None:
        """Act on a deadline that has passed."""


class Loop:
    """One epoll instance and what depends on it. `now` (monotonic seconds) and `wall` (seconds
    since the epoch) are read once per batch.

    Handlers are bound methods: when one raises, `on_bug` gets the object it belongs to.
    """

    def __init__(self, on_bug: Callable[[object], None], sweep: float = _SWEEP) -> None:
        self._on_bug = on_bug
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._closing: list[socket.socket] = []
        self._timed: set[Timed] = set()
        self._ticks: list[Callable[[], None]] = []
        self._sweep = min(sweep, _SWEEP)
        self._running = False
        self.now = time.monotonic()
        self.wall = 0.0
        self._second = 0
        self.date = b""
        self.log_time = ""
        self.read_clock()

    # Descriptors

    def register(self, sock: socket.socket, interest: int, handler: Callable[[int], None]) -> None:
        """Call `handler(events)` whenever one of `interest` is true of `sock`."""
        fd = sock.fileno()
        self._epoll.register(fd, interest)
        self._handlers[fd] = handler

    def modify(self, sock: socket.socket, interest: int) -> None:
        """Change what `sock` is watched for."""
        self._epoll.modify(sock.fileno(), interest)

    def unregister(self, sock: socket.socket) -> None:
        """Watch `sock` no more; it stays open."""
        fd = sock.fileno()
        if self._handlers.pop(fd, None):
            self._epoll.unregister(fd)

    def close(self, sock: socket.socket) -> None:
        """Close `sock` when this batch of events is done.

        Later in the batch there may be an event for it. Were it closed at once, a connection
        accepted meanwhile could get its number and that event with it.
        """
        self._handlers.pop(sock.fileno(), None)
        self._closing.append(sock)

    # Time

    def watch(self, timed: Timed) -> None:
        """Call `timed.on_deadline()` once its deadline has passed, in every sweep."""
        self._timed.add(timed)

    def forget(self, timed: Timed) -> None:
        """Look at its deadline no more."""
        self._timed.discard(timed)

    def every_sweep(self, tick: Callable[[], None]) -> None:
        """Call `tick()` in every sweep, four times per second."""
        self._ticks.append(tick)

    # Running

    def run(self) -> None:
        """Run until `stop` is called."""
        self._running = True
        poll, handlers, closing = self._epoll.poll, self._handlers, self._closing
        next_sweep = self.now + self._sweep
        while self._running:
            timeout = next_sweep - time.monotonic()
            events = poll(timeout if timeout > 0 else 0)
            self.read_clock()
            for fd, mask in events:
                handler = handlers.get(fd)
                if handler is not None:
                    try:
                        handler(mask)
                    except Exception:  # noqa: BLE001 - a bug may cost one connection, not all
                        self._on_bug(handler.__self__)  # type: ignore[attr-defined]
            if closing:
                self._close_now()
            if self.now >= next_sweep:
                next_sweep = self.now + self._sweep
                self._look_at_deadlines()

    def stop(self) -> None:
        """Leave `run` after this batch."""
        self._running = False

    def read_clock(self) -> None:
        """Look at the clock again: something that took its time is to be measured."""
        self.now = time.monotonic()
        self.wall = wall = time.time()
        if int(wall) != self._second:
            self._second = int(wall)
            self.date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(wall)).encode()
            self.log_time = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(wall))

    def _close_now(self) -> None:
        for sock in self._closing:
            sock.close()
        self._closing.clear()

    def _look_at_deadlines(self) -> None:
        now = self.now
        for timed in [timed for timed in self._timed if timed.deadline <= now]:
            if timed.deadline <= now:  # one that is gone since has been given another
                timed.on_deadline()
        for tick in self._ticks:
            tick()
        if self._closing:
            self._close_now()


def settle() -> None:
    """Spare the collector what lives as long as the process (gc.freeze).

    A request leaves no reference cycles, so the young generation is looked at more rarely too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
