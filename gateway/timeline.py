"""The timeline of a request through the gateway, and the time spent in each part.

    began ─accept─ started   submitted ─queue─ assigned ─connect─ connected ─first byte─ … ─send─

A request with a body is submitted once enough of the body has arrived; the wait until then is the
client's and belongs to no part. The loop reads the clock once per batch of events, so recording a
step costs one store, and the time between two steps in the same batch counts as 0.
"""

from typing import Final

from chainlab.transport.logfile import format_time, quote, quote_id
from gateway.loop import Loop

PARTS: Final = ("accept", "queue", "connect", "first_byte", "send")
"""The parts of a request's time, in order."""

_MEMBERS: Final = [
    ', "start": %s, "id": %s, "upstream": %s, "milliseconds": {'
    + "".join(f'"{name}": {"%.3f" if n < reached else "null"}, ' for n, name in enumerate(PARTS))
    + '"total": %.3f}, "cut": %s'
    for reached in range(len(PARTS) + 1)
]
"""Members of a JSON access-log line, indexed by how many PARTS the request reached."""

_USUAL: Final = (
    ', "start": %s, "id": %s, "upstream": %s, "milliseconds": {"accept": 0, "queue": 0, '
    '"connect": 0, "first_byte": %s, "send": 0, "total": %s}, "cut": %s'
)
"""The common case: head in one read, a free connection, response in one read."""


class Timeline:
    """The time of each step on the loop's clock, in monotonic seconds; 0 if not reached yet.

    Subclasses must set every attribute.
    """

    __slots__ = (
        "assigned_at",
        "began_at",
        "connected_at",
        "first_byte_at",
        "started_at",
        "submitted_at",
    )

    began_at: float  # start of the request head
    started_at: float
    submitted_at: float
    assigned_at: float
    connected_at: float
    first_byte_at: float

    def restart(self) -> None:
        """Clear the upstream steps before a retry."""
        self.assigned_at = self.connected_at = self.first_byte_at = 0.0

    def milliseconds(self, now: float) -> list[float]:
        """Return the milliseconds spent in each of PARTS that the request reached.

        The last part runs until `now`: that is where a failed request stopped.
        """
        spent = [(self.started_at - self.began_at) * 1000]
        begin = self.submitted_at
        for end in (self.assigned_at, self.connected_at, self.first_byte_at, 0.0):
            if not begin:
                break
            spent.append(((end or now) - begin) * 1000)
            begin = end
        return spent

    def members(self, loop: Loop, request_id: bytes, upstream: str, *, cut: bool) -> str:
        """Return the members of a JSON access-log line beyond head and status."""
        total = loop.now - self.began_at
        start = format_time(loop.wall - total)
        common = start, quote_id(request_id.decode()), quote(upstream)
        state = "true" if cut else "false"
        if self.connected_at == self.began_at and self.first_byte_at == loop.now:
            whole = "%.3f" % (total * 1000)
            return _USUAL % (*common, whole, whole, state)
        spent = self.milliseconds(loop.now)
        return _MEMBERS[len(spent)] % (*common, *spent, total * 1000, state)
