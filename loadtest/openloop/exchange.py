"""Requests and answers: send a request, read and verify the answer, free the connection.

Every started request ends in `_done` or `fail`, and both record its latency. The next request on a
closed connection reopens it, so the time to connect is included in the latency.

A stale event is harmless: if a descriptor was closed and reopened since epoll reported it, the read
returns EAGAIN.
"""

import select
from typing import Final

from loadtest.openloop.answer import Broken, Reader, judge
from loadtest.openloop.connection import Connection, kind_of
from loadtest.openloop.connection_pool import IN, ConnectionPool, clock
from loadtest.openloop.plan import Plan
from loadtest.openloop.record import Record

OUT: Final = select.EPOLLOUT
_RECEIVE: Final = 65536


class Exchanges:
    """The exchanges on the connections of one process."""

    def __init__(self, plan: Plan, worker_id: int) -> None:
        self.record = Record()
        self.pool = ConnectionPool(plan, worker_id, self.record)
        self.woke = 0.0  # when epoll last returned
        self.begun = 0.0
        self.last = 0.0  # seconds from the start until the last request ended
        self._plan = plan
        self._request = plan.request
        self._good = b""  # the last correct answer, byte for byte

    def start(self, connection: Connection, intended: float, now: float) -> None:
        """Send a request, or as much of it as the socket takes."""
        record = self.record
        record.intended += 1
        connection.intended, connection.busy = intended, True
        if connection.freed > intended:
            record.waited += 1
            record.lateness.add(now - connection.freed)
        else:
            record.lateness.add(now - intended)
        try:
            if connection.fd < 0:
                self.pool.open(connection)
            sent = connection.send(self._request)
        except BlockingIOError:  # still connecting, or the send buffer is full
            sent = 0
        except OSError as error:
            self.fail(connection, kind_of(error))
            return
        record.sent += 1
        if sent < len(self._request):
            connection.unsent = memoryview(self._request)[sent:]
            self.pool.epoll.modify(connection.fd, IN | OUT)

    def send_rest(self, connection: Connection) -> None:
        """Send the rest of the request; the socket is writable again."""
        if connection.unsent is None:
            return
        try:
            connection.unsent = connection.unsent[connection.send(connection.unsent) :] or None
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(connection, kind_of(error))
            return
        if connection.unsent is None:
            self.pool.epoll.modify(connection.fd, IN)

    def read(self, connection: Connection) -> None:
        """Read from a connection."""
        try:
            data = connection.receive(_RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(connection, kind_of(error))
            return
        if connection.busy:
            if data == self._good and connection.reader is None and data:
                self._done(connection)
            else:
                self._parse(connection, data)
        elif data:
            detail = f"{len(data)} bytes without a request: {data[:120]!r}"
            self._wrong(connection, "framing", detail)
            self.pool.shut(connection)
        else:
            self._lost(connection, "closed")

    def _parse(self, connection: Connection, data: bytes) -> None:
        """Parse an answer or a piece of one, and verify it when it is complete."""
        first = connection.reader is None
        reader = connection.reader or Reader()
        try:
            complete = reader.feed(data) if data else reader.eof()
        except Broken as error:
            kind, detail = "framing", str(error)
            reader.keeps = False
        else:
            if not complete:
                if data:
                    connection.reader = reader
                else:
                    self.fail(connection, "short" if reader.begun else "closed")
                return
            kind, detail = judge(reader, self._plan.status, self._plan.expected)
        if kind:
            self._wrong(connection, kind, detail)
        elif first and (reader.keeps or not self._plan.keep):
            self._good = data
        if not reader.keeps:
            self.pool.shut(connection)
        self._done(connection)

    def _wrong(self, connection: Connection, kind: str, detail: str) -> None:
        where = f"connection {connection.number} after {clock() - self.begun:.3f} s"
        self.record.wrong_answer(kind, f"{where}: {detail}")

    def _done(self, connection: Connection) -> None:
        """Count an answer, correct or not, and free its connection."""
        now = clock()
        connection.count += 1
        self.record.answer(now - connection.intended)
        connection.busy, connection.freed, connection.reader = False, self.woke, None
        self.last = now - self.begun
        if not self._plan.keep or connection.unsent is not None:
            self.pool.shut(connection)
        self.pool.idle.append(connection)

    def _lost(self, connection: Connection, kind: str) -> None:
        """Handle a closed connection, with or without a request in flight."""
        if connection.busy:
            self.fail(connection, kind)
        else:
            self.record.closed_idle += 1
            self.pool.shut(connection)

    def fail(self, connection: Connection, kind: str) -> None:
        """Count a failed request and close its connection."""
        now = clock()
        self.record.error(kind, now - connection.intended)
        self.pool.shut(connection)
        connection.busy, connection.freed = False, now
        self.last = now - self.begun
        # A closed loop on a dead server would retry as fast as it is refused, so the connection
        # rests until the next tick.
        pool = self.pool
        (pool.resting if self._plan.rate is None else pool.idle).append(connection)
