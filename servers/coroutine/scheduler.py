"""A scheduler for generators: yielding a wait suspends the generator until the wait ends (S8).

    yield Readable(sock)      until recv would not block
    yield Writable(sock)      until send would not block
    yield Sleep(seconds)      until the time has passed

A wait may have a time limit; `yield` returns True if the awaited event came, False if the limit
passed. A switch is one call of a generator's `send`, a fraction of a microsecond: no kernel, no
separate stack. In return there is no preemption: a CPU-bound coroutine stalls all others. A yield
reaches only through `yield from`, so every function on the way to a wait must be a generator.
"""

import heapq
import itertools
import math
import select
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias


class HasFileno(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


@dataclass(slots=True)
class Readable:
    """Until `sock` is readable, or until `deadline` (time.monotonic)."""

    sock: HasFileno
    deadline: float = math.inf


@dataclass(slots=True)
class Writable:
    """Until `sock` is writable, or until `deadline` (time.monotonic)."""

    sock: HasFileno
    deadline: float = math.inf


@dataclass(slots=True)
class Sleep:
    """Until `seconds` have passed."""

    seconds: float


Wait: TypeAlias = Readable | Writable | Sleep
Coroutine: TypeAlias = Generator[Wait, bool, None]

_MOST: Final = 512  # events taken in one call


class Task:
    """A coroutine and what it waits for."""

    __slots__ = ("alarm", "cancelled", "coroutine", "deadline", "fd", "interest", "turn", "waits")

    def __init__(self, coroutine: Coroutine) -> None:
        self.coroutine = coroutine
        self.cancelled = False
        self.turn = 0  # counts resumptions; -1: it has ended
        self.waits: type[Wait] | None = None
        self.deadline = math.inf  # of the current wait
        self.alarm = math.inf  # when its entry among the timers is due
        self.fd = -1  # the descriptor that epoll holds for it, kept from wait to wait
        self.interest = 0


class Scheduler:
    """Runs tasks until none is left."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: deque[tuple[Task, int, bool]] = deque()  # with the turn that it was made for
        self._registered: dict[int, Task] = {}  # by descriptor
        self._timers: list[tuple[float, int, Task]] = []
        self._order = itertools.count()
        self._count = 0

    def spawn(self, coroutine: Coroutine) -> Task:
        """Schedule `coroutine` to run from its beginning."""
        task = Task(coroutine)
        self._count += 1
        self._make_ready(task, came=True)
        return task

    def cancel(self, task: Task) -> None:
        """Close `task` soon: GeneratorExit comes out of the yield that it waits in."""
        task.cancelled = True
        self._make_ready(task, came=False)

    def run(self) -> None:
        """Resume ready tasks and wait for more, until all have ended."""
        while self._count:
            for _ in range(len(self._ready)):
                task, turn, came = self._ready.popleft()
                if task.turn == turn:
                    self._resume(task, came)
            if self._count:
                self._wait()

    def _make_ready(self, task: Task, *, came: bool) -> None:
        self._ready.append((task, task.turn, came))

    def _resume(self, task: Task, came: bool) -> None:
        task.turn += 1
        task.waits = None
        try:
            if task.cancelled:
                task.coroutine.close()
                raise StopIteration
            wait = task.coroutine.send(came) if task.turn > 1 else next(task.coroutine)
        except StopIteration:
            task.turn = -1
            self._count -= 1
            self._release(task)
            return
        task.waits = type(wait)
        if isinstance(wait, Readable):
            self._wait_for(task, wait.sock.fileno(), select.EPOLLIN, wait.deadline)
        elif isinstance(wait, Writable):
            self._wait_for(task, wait.sock.fileno(), select.EPOLLOUT, wait.deadline)
        else:
            self._set_deadline(task, time.monotonic() + wait.seconds)

    def _wait_for(self, task: Task, fd: int, interest: int, deadline: float) -> None:
        if task.fd != fd:
            self._release(task)
            self._epoll.register(fd, interest)
            self._registered[fd] = task
            task.fd = fd
        elif task.interest != interest:
            self._epoll.modify(fd, interest)
        task.interest = interest
        self._set_deadline(task, deadline)

    def _release(self, task: Task) -> None:
        """Take its descriptor out of epoll; closing it has done that already."""
        if task.fd >= 0 and self._registered.get(task.fd) is task:
            del self._registered[task.fd]
            try:
                self._epoll.unregister(task.fd)
            except OSError:
                pass
        task.fd = -1

    def _set_deadline(self, task: Task, deadline: float) -> None:
        """Wake it then; one entry among the timers serves all its waits that end later."""
        task.deadline = deadline
        if deadline < task.alarm:
            task.alarm = deadline
            heapq.heappush(self._timers, (deadline, next(self._order), task))

    def _wait(self) -> None:
        timeout = -1.0
        if self._ready:
            timeout = 0.0
        elif self._timers:
            timeout = max(0.0, self._timers[0][0] - time.monotonic())
        for fd, _event in self._epoll.poll(timeout, _MOST):
            task = self._registered.get(fd)
            if task is None:
                continue
            if task.waits in (Readable, Writable):
                self._make_ready(task, came=True)
            else:
                self._release(task)  # it sleeps: what came is there when it asks again
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            when, _, task = heapq.heappop(self._timers)
            if when == task.alarm:
                self._ring(task, now)

    def _ring(self, task: Task, now: float) -> None:
        task.alarm = math.inf
        if task.waits is None or task.turn < 0:
            return
        if task.deadline <= now:
            self._make_ready(task, came=task.waits is Sleep)
        elif task.deadline < math.inf:
            self._set_deadline(task, task.deadline)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()
