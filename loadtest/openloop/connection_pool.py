"""The connections of one process: which are free, which is behind a descriptor, which are open."""

import select
import time
from collections import deque
from typing import Final

from loadtest.openloop.connection import Slot, kind_of
from loadtest.openloop.plan import Plan
from loadtest.openloop.record import Record

IN: Final = select.EPOLLIN
clock = time.monotonic


class Places:
    """The slots of one process, and the epoll that watches them."""

    def __init__(self, plan: Plan, part: int, record: Record) -> None:
        count = plan.share(plan.connections, part)
        self.slots = [Slot(plan.target, number) for number in range(count)]
        self.idle = deque(self.slots)  # free; who was free longest is next
        self.resting: list[Slot] = []  # free after the next tick
        self.by_fd: dict[int, Slot] = {}
        self.epoll = select.epoll()
        self._plan = plan
        self._record = record

    @property
    def running(self) -> int:
        """How many requests are on their way."""
        return len(self.slots) - len(self.idle) - len(self.resting)

    def connect(self) -> None:
        """Open the kept connections, within the plan's timeout; failures are counted."""
        deadline = clock() + self._plan.timeout
        for slot in self.slots if self._plan.keep else ():
            left = deadline - clock()
            if left <= 0:
                self._record.unconnected["timeout"] += 1
                continue
            try:
                self.open(slot, left)
                self._record.established += 1
            except OSError as error:
                self._record.unconnected[kind_of(error)] += 1

    def open(self, slot: Slot, seconds: float = 0.0) -> None:
        """Connect a slot, or begin to; OSError when it cannot be."""
        slot.open(seconds)
        self.by_fd[slot.fd] = slot
        self.epoll.register(slot.fd, IN)
        self._record.opened += 1

    def shut(self, slot: Slot) -> None:
        """Close a slot's connection, if there is one."""
        self.by_fd.pop(slot.fd, None)
        slot.close()

    def close(self) -> None:
        """Close everything."""
        for slot in self.slots:
            self.shut(slot)
        self.epoll.close()
