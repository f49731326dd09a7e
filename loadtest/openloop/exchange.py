"""Requests and answers on connections: sends one, reads it, verifies it, frees the connection.

Every request that was started ends here in one of two ways, `_done` or `fail`, and both put it into
the distribution. A connection that has ended is opened again by the next request on it, so the
time that takes is in the latency.

A stale event, for a descriptor closed and opened again in the same round, is a read that would
block: nothing happens.
"""

import select
from typing import Final

from loadtest.openloop.answer import Broken, Reader, judge
from loadtest.openloop.connection import Slot, kind_of
from loadtest.openloop.connection_pool import IN, Places, clock
from loadtest.openloop.plan import Plan
from loadtest.openloop.record import Record

OUT: Final = select.EPOLLOUT
_RECEIVE: Final = 65536


class Exchanges:
    """What runs on the connections of one process."""

    def __init__(self, plan: Plan, part: int) -> None:
        self.record = Record()
        self.places = Places(plan, part, self.record)
        self.woke = 0.0  # when epoll last returned
        self.begun = 0.0
        self.last = 0.0  # seconds from the start to the last end of a request
        self._plan = plan
        self._request = plan.request
        self._good = b""  # the last right answer, byte for byte

    def start(self, slot: Slot, intended: float, now: float) -> None:
        """Send a request, or as much of it as goes."""
        record = self.record
        record.intended += 1
        slot.intended, slot.busy = intended, True
        if slot.freed > intended:
            record.waited += 1
            record.lateness.add(now - slot.freed)
        else:
            record.lateness.add(now - intended)
        try:
            if slot.fd < 0:
                self.places.open(slot)
            sent = slot.send(self._request)
        except BlockingIOError:  # connecting, or its buffer is full
            sent = 0
        except OSError as error:
            self.fail(slot, kind_of(error))
            return
        record.sent += 1
        if sent < len(self._request):
            slot.unsent = memoryview(self._request)[sent:]
            self.places.epoll.modify(slot.fd, IN | OUT)

    def send_rest(self, slot: Slot) -> None:
        """Go on sending, now that the connection takes more."""
        if slot.unsent is None:
            return
        try:
            slot.unsent = slot.unsent[slot.send(slot.unsent) :] or None
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(slot, kind_of(error))
            return
        if slot.unsent is None:
            self.places.epoll.modify(slot.fd, IN)

    def read(self, slot: Slot) -> None:
        """Take what a connection has to say."""
        try:
            data = slot.receive(_RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(slot, kind_of(error))
            return
        if slot.busy:
            if data == self._good and slot.reader is None and data:
                self._done(slot)
            else:
                self._look(slot, data)
        elif data:
            self._wrong(slot, "framing", f"unasked: {len(data)} bytes: {data[:120]!r}")
            self.places.shut(slot)
        else:
            self._lost(slot, "closed")

    def _look(self, slot: Slot, data: bytes) -> None:
        """Take an answer apart, or a piece of one, and verify it when it is whole."""
        first = slot.reader is None
        reader = slot.reader or Reader()
        try:
            whole = reader.feed(data) if data else reader.eof()
        except Broken as error:
            kind, detail = "framing", str(error)
            reader.keeps = False
        else:
            if not whole:
                if data:
                    slot.reader = reader
                else:
                    self.fail(slot, "short" if reader.begun else "closed")
                return
            kind, detail = judge(reader, self._plan.status, self._plan.expected)
        if kind:
            self._wrong(slot, kind, detail)
        elif first and (reader.keeps or not self._plan.keep):
            self._good = data
        if not reader.keeps:
            self.places.shut(slot)
        self._done(slot)

    def _wrong(self, slot: Slot, kind: str, detail: str) -> None:
        where = f"connection {slot.number} after {clock() - self.begun:.3f} s"
        self.record.wrong_answer(kind, f"{where}: {detail}")

    def _done(self, slot: Slot) -> None:
        """Count an answer, right or wrong, and free its connection."""
        now = clock()
        slot.count += 1
        self.record.answer(now - slot.intended)
        slot.busy, slot.freed, slot.reader = False, self.woke, None
        self.last = now - self.begun
        if not self._plan.keep or slot.unsent is not None:
            self.places.shut(slot)
        self.places.idle.append(slot)

    def _lost(self, slot: Slot, kind: str) -> None:
        """The connection has ended, with a request on it or without."""
        if slot.busy:
            self.fail(slot, kind)
        else:
            self.record.closed_idle += 1
            self.places.shut(slot)

    def fail(self, slot: Slot, kind: str) -> None:
        """Count a request that has no answer, at this moment; its connection is no use any more."""
        now = clock()
        self.record.error(kind, now - slot.intended)
        self.places.shut(slot)
        slot.busy, slot.freed = False, now
        self.last = now - self.begun
        # A closed loop at a dead server would ask as fast as it is refused.
        places = self.places
        (places.resting if self._plan.rate is None else places.idle).append(slot)
