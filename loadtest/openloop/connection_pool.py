"""The connections of one process: all of them, the idle ones, and an index by descriptor."""

import select
import time
from collections import deque
from typing import Final

from loadtest.openloop.connection import Connection, kind_of
from loadtest.openloop.plan import Plan
from loadtest.openloop.record import Record

IN: Final = select.EPOLLIN
clock = time.monotonic


class ConnectionPool:
    """The connections of one process, and the epoll that watches them."""

    def __init__(self, plan: Plan, worker_id: int, record: Record) -> None:
        count = plan.share(plan.connections, worker_id)
        self.connections = [Connection(plan.target, number) for number in range(count)]
        self.idle = deque(self.connections)  # the longest idle first
        self.resting: list[Connection] = []  # idle again after the next tick
        self.by_fd: dict[int, Connection] = {}
        self.epoll = select.epoll()
        self._plan = plan
        self._record = record

    @property
    def running(self) -> int:
        """The number of requests in flight."""
        return len(self.connections) - len(self.idle) - len(self.resting)

    def connect(self) -> None:
        """Open the kept connections within the plan's timeout, and count failures."""
        deadline = clock() + self._plan.timeout
        for connection in self.connections if self._plan.keep else ():
            left = deadline - clock()
            if left <= 0:
                self._record.unconnected["timeout"] += 1
                continue
            try:
                self.open(connection, left)
                self._record.established += 1
            except OSError as error:
                self._record.unconnected[kind_of(error)] += 1

    def open(self, connection: Connection, seconds: float = 0.0) -> None:
        """Begin to connect, as Connection.open does; OSError on failure."""
        connection.open(seconds)
        self.by_fd[connection.fd] = connection
        self.epoll.register(connection.fd, IN)
        self._record.opened += 1

    def shut(self, connection: Connection) -> None:
        """Close `connection`, if open."""
        self.by_fd.pop(connection.fd, None)
        connection.close()

    def close(self) -> None:
        """Close everything."""
        for connection in self.connections:
            self.shut(connection)
        self.epoll.close()
