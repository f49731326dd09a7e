"""The epoll loop of one process: sends due requests, reads answers, times out late requests.

There is no queue of waiting requests: times are in order, so the next unsent time is the only
state, and `while it is due and a connection is free` is the whole scheduler. The longest idle
connection is used next, so a connection with fewer answers was served less by the server. A
request times out `timeout` after its intended time, sent or not, so a run ends at most `timeout`
after the last intended time.

Decisions.
- epoll_wait has millisecond timeouts, which would delay each request by up to 1 ms. select() on the
  epoll descriptor has µs timeouts, for one extra system call, and only when idle.
- At most EVENTS answers are read between two checks of tick and timeouts, and due requests are sent
  after each answer: a burst of answers delays no request.
- Lateness is the driver's own: from the intended time, or from when a connection became free if
  that was later. Waiting for a connection is the server's fault: it is counted (`waited`) and
  included in the latency.
"""

import select
from typing import Final

from loadtest.openloop import schedule
from loadtest.openloop.connection_pool import clock
from loadtest.openloop.exchange import OUT, Exchanges
from loadtest.openloop.plan import Plan

EVENTS: Final = 16
_NEVER: Final = float("inf")


class Loop:
    """Runs one worker's share of a plan."""

    def __init__(self, plan: Plan, worker_id: int) -> None:
        self.exchanges = Exchanges(plan, worker_id)
        self.pool = self.exchanges.pool
        self._timeout = plan.timeout
        self._duration = plan.duration
        self._open_loop = plan.rate is not None
        self._times = schedule.times(plan, worker_id)
        self._period = 0.1 if plan.timeout >= 0.5 else 0.02  # seconds between ticks
        self._begun = self._due = self._tick = 0.0

    def run(self, begin: float) -> None:
        """Carry out the plan, starting at `begin` on the monotonic clock."""
        exchanges, pool = self.exchanges, self.pool
        self._begun = self._tick = exchanges.begun = begin
        self._advance()
        while self._due < _NEVER or pool.running:
            now = clock()
            if now >= self._tick:
                self._on_tick(now)
            self._send_due()
            for fd, event in self._wait():
                connection = pool.by_fd.get(fd)
                if connection is None:
                    continue
                if event & OUT:
                    exchanges.send_rest(connection)
                if event != OUT and connection.fd == fd:  # send_rest may have closed it
                    exchanges.read(connection)
                self._send_due()

    def _advance(self) -> None:
        self._due = self._begun + next(self._times, _NEVER)

    def _send_due(self) -> None:
        """Send the due requests while connections are free."""
        idle, start = self.pool.idle, self.exchanges.start
        while idle and self._due <= (now := clock()):
            if self._open_loop:
                start(idle.popleft(), self._due, now)
            elif now < self._begun + self._duration:
                start(idle.popleft(), now, now)
            else:
                self._due = _NEVER
                return
            self._advance()

    def _wait(self) -> list[tuple[int, int]]:
        """Return epoll's events; wait at most until the next due request or tick."""
        epoll = self.pool.epoll
        due = self._due if self.pool.idle else _NEVER
        delay = min(due, self._tick) - clock()
        if delay > 0 and due < _NEVER:
            select.select((epoll,), (), (), delay)
            delay = 0
        events = epoll.poll(max(delay, 0), EVENTS)
        self.exchanges.woke = clock()
        return events

    def _on_tick(self, now: float) -> None:
        """Time out late requests, sent or not; make failed connections available again."""
        exchanges, pool = self.exchanges, self.pool
        exchanges.record.roll(now - self._begun)
        for connection in pool.connections:
            if connection.busy and connection.intended + self._timeout <= now:
                exchanges.fail(connection, "timeout")
        while self._open_loop and self._due + self._timeout <= now:
            exchanges.record.intended += 1
            exchanges.record.error("unsent", now - self._due)
            self._advance()
        pool.idle.extend(pool.resting)
        pool.resting.clear()
        while self._tick <= now:
            self._tick += self._period
