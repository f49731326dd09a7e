"""The event loop of one process: level-triggered epoll, a cached clock, and swept deadlines.

Facts. Every request pays for epoll_wait, but ready descriptors share one call. Each epoll_ctl is
another system call. A timer per request costs two heap operations.

Decisions. A descriptor is registered once, for reading; its interest changes only under
backpressure. The loop reads the clock once per batch of events. A timeout is a plain `deadline`
attribute, and a sweep checks all of them a few times per second: setting a timeout costs one
store, and it fires at most one sweep late. Whatever ends an object, or hands one to somebody else,
does so through `soon`, after the batch: a handler never finds that a call it made has replaced the
objects it works on.

Trade-off. A sweep costs about 50 ns per open connection, idle or not: 20,000 connections take
1 ms, four times per second.
"""

import gc
import heapq
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Final, Protocol

READ: Final = select.EPOLLIN | select.EPOLLRDHUP
WRITE: Final = select.EPOLLOUT
HANGUP: Final = select.EPOLLRDHUP
BROKEN: Final = select.EPOLLHUP | select.EPOLLERR

NEVER: Final = float("inf")

_SWEEP: Final = 0.25  # maximum seconds between deadline sweeps


class Timed(Protocol):
    """An object with a deadline that the sweep checks."""

    deadline: float

    def on_deadline(self) -> None:
        """Handle an expired deadline."""


class Loop:
    """An epoll instance, its handlers and a clock.

    The loop reads `now` (monotonic seconds) and `wall` (seconds since the epoch) once per batch.
    All calls must be bound methods: if one raises, `on_bug` receives the object it is bound to. No
    exception of a handler, a deadline or a scheduled call ends `run`.
    """

    def __init__(self, on_bug: Callable[[object], None], sweep: float = _SWEEP) -> None:
        self._report_bug = on_bug
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._closing: list[socket.socket] = []
        self._timed: set[Timed] = set()
        self._soon: deque[Callable[[], None]] = deque()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.sweep_every(sweep)
        self._running = False
        self.now = time.monotonic()
        self.wall = 0.0
        self._second = 0
        self.date = b""
        self.log_time = ""
        self.read_clock()

    # Descriptors

    def register(self, sock: socket.socket, interest: int, handler: Callable[[int], None]) -> None:
        """Call `handler(events)` whenever `sock` has one of the `interest` events."""
        fd = sock.fileno()
        self._epoll.register(fd, interest)
        self._handlers[fd] = handler

    def modify(self, sock: socket.socket, interest: int) -> None:
        """Change the events watched on `sock`."""
        self._epoll.modify(sock.fileno(), interest)

    def unregister(self, sock: socket.socket) -> None:
        """Stop watching `sock`; leave it open."""
        fd = sock.fileno()
        if self._handlers.pop(fd, None):
            self._epoll.unregister(fd)

    def close(self, sock: socket.socket) -> None:
        """Close `sock` at the end of this batch of events.

        The batch may still hold an event for `sock`. If it closed now, a connection accepted in
        the same batch could reuse the descriptor number and receive that stale event.
        """
        self._handlers.pop(sock.fileno(), None)
        self._closing.append(sock)

    # Time

    def watch(self, timed: Timed) -> None:
        """Have every sweep call `timed.on_deadline()` if its deadline has passed."""
        self._timed.add(timed)

    def forget(self, timed: Timed) -> None:
        """Stop checking the deadline of `timed`."""
        self._timed.discard(timed)

    def sweep_every(self, seconds: float) -> None:
        """Check deadlines every `seconds`, but at least four times per second."""
        self._interval = min(seconds, _SWEEP)

    # Calls

    def soon(self, call: Callable[[], None]) -> None:
        """Call `call()` once all events of this batch are handled."""
        self._soon.append(call)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call()` in `seconds`, at most one sweep late."""
        heapq.heappush(self._later, (self.now + seconds, next(self._order), call))

    # Running

    def run(self) -> None:
        """Run until `stop` is called."""
        self._running = True
        poll, handlers, closing, soon = self._epoll.poll, self._handlers, self._closing, self._soon
        next_sweep = self.now + self._interval
        while self._running:
            timeout = next_sweep - time.monotonic()
            events = poll(timeout if timeout > 0 and not soon else 0)
            self.read_clock()
            for fd, mask in events:
                handler = handlers.get(fd)
                if handler is not None:
                    try:
                        handler(mask)
                    except Exception:  # noqa: BLE001 - a bug costs one connection, not the process
                        self._on_bug(handler)
            if soon:
                self._run_soon()
            if closing:
                self._close_now()
            if self.now >= next_sweep:
                self._sweep()
                next_sweep = self.now + self._interval

    def _run_soon(self) -> None:
        """Run the calls scheduled so far; calls they schedule wait until after the next poll."""
        for _ in range(len(self._soon)):
            self._guarded(self._soon.popleft())

    def _sweep(self) -> None:
        now = self.now
        for timed in [timed for timed in self._timed if timed.deadline <= now]:
            if timed.deadline <= now:  # an earlier on_deadline may have moved or closed it
                self._guarded(timed.on_deadline)
        while self._later and self._later[0][0] <= now:
            self._guarded(heapq.heappop(self._later)[2])
        if self._closing:
            self._close_now()

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - see `run`
            self._on_bug(call)

    def _on_bug(self, call: Callable[..., None]) -> None:
        with suppress(Exception):  # the report itself may fail, say on a full disk
            self._report_bug(call.__self__)  # type: ignore[attr-defined]

    def stop(self) -> None:
        """Leave `run` after this batch."""
        self._running = False

    def read_clock(self) -> None:
        """Read the clock again, after work long enough to matter."""
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


def settle() -> None:
    """Exclude start-up objects from garbage collection (gc.freeze) and collect less often.

    Requests leave no reference cycles, so the young generation rarely needs a collection.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
