"""The steps that a request takes through the gateway, and the time that each part took.

    began ─accept─ started   submitted ─queue─ assigned ─connect─ connected ─first byte─ … ─send─

A request with content is submitted once enough of it has come; what passes until then is the
client's, and no part of its own. The loop reads the clock once for all that one epoll_wait
reports, so a step costs a store, and what lies between two of one batch counts as nothing.
"""

from typing import TYPE_CHECKING, Final

from chainlab.transport.logfile import format_time, quote, quote_id

if TYPE_CHECKING:
    from gateway.loop import Loop

PARTS: Final = ("accept", "queue", "connect", "first_byte", "send")
"""What the time of a request is divided into, in this order."""

_MEMBERS: Final = [
    ', "start": %s, "id": %s, "upstream": %s, "milliseconds": {'
    + "".join(f'"{name}": {"%.3f" if n < reached else "null"}, ' for n, name in enumerate(PARTS))
    + '"total": %.3f}, "cut": %s'
    for reached in range(len(PARTS) + 1)
]
"""Of an access line as JSON, by how many of PARTS were reached."""

_USUAL: Final = (
    ', "start": %s, "id": %s, "upstream": %s, "milliseconds": {"accept": 0, "queue": 0, '
    '"connect": 0, "first_byte": %s, "send": 0, "total": %s}, "cut": %s'
)
"""Where the head came in one read, a connection was free, and the answer came in one read."""


class Timeline:
    """When each step was taken: the loop's time, monotonic seconds; 0 for what has not happened.

    Whoever inherits this sets them all.
    """

    __slots__ = (
        "assigned_at",
        "began_at",
        "connected_at",
        "first_byte_at",
        "started_at",
        "submitted_at",
    )

    began_at: float  # when the request's head began to come
    started_at: float
    submitted_at: float
    assigned_at: float
    connected_at: float
    first_byte_at: float

    def restart(self) -> None:
        """Forget how far it came: it is tried again."""
        self.assigned_at = self.connected_at = self.first_byte_at = 0.0

    def milliseconds(self, now: float) -> list[float]:
        """Return the time that each of PARTS has taken, as far as they were reached.

        The last one that was is counted until `now`: it is where a request failed.
        """
        spent = [(self.started_at - self.began_at) * 1000]
        begin = self.submitted_at
        for end in (self.assigned_at, self.connected_at, self.first_byte_at, 0.0):
            if not begin:
                break
            spent.append(((end or now) - begin) * 1000)
            begin = end
        return spent

    def members(self, loop: "Loop", request_id: bytes, upstream: str, *, cut: bool) -> str:
        """Return what an access line as JSON says beyond head and status."""
        total = loop.now - self.began_at
        start = format_time(loop.wall - total)
        told = start, quote_id(request_id.decode()), quote(upstream)
        state = "true" if cut else "false"
        if self.connected_at == self.began_at and self.first_byte_at == loop.now:
            whole = "%.3f" % (total * 1000)
            return _USUAL % (*told, whole, whole, state)
        spent = self.milliseconds(loop.now)
        return _MEMBERS[len(spent)] % (*told, *spent, total * 1000, state)
