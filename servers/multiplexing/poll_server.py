"""poll(2): an array of descriptors and events goes to the kernel at each call (M3, E3, E5).

What changes against select: there is no limit of 1,024, and the events that came are reported
beside those that were asked for. The kernel still walks the whole array each time.
"""

import select
from typing import Final

from servers.common.spec import Spec
from servers.multiplexing.pollers import from_poll_events, to_poll_events
from servers.multiplexing.readiness import Readiness

SPEC: Final = Spec(
    name="poll",
    title="readiness by poll",
    family="multiplexing",
    processes="one",
    threads="one",
    multiplexer="poll",
    mode="level",
    model=(
        "poll is handed an array of descriptors and events at each call;",
        "the process sleeps until one is ready. No limit of 1,024,",
        "but the kernel still walks the whole array, each time.",
    ),
    sleeps=("in poll(2), for all connections at once", "nowhere: recv copies at once"),
    good="some hundred descriptors",
    bad="thousands, most of them idle",
    neighbours=("select", "epoll-lt"),
    source="servers/multiplexing/poll_server.py",
    limits=("a handler that computes holds up everybody",),
    claims=("M3", "E3", "E5", "S7"),
    target="servers.multiplexing.poll_server:PollServer",
)


class PollPoller:
    """poll(2): an array of pollfd, without select's limit; the kernel still walks it."""

    limit: int | None = None

    def __init__(self) -> None:
        self._poll = select.poll()

    def register(self, fd: int, interest: int) -> None:
        """Add `fd`."""
        self._poll.register(fd, to_poll_events(interest))

    def modify(self, fd: int, interest: int) -> None:
        """Change what is waited for."""
        self._poll.modify(fd, to_poll_events(interest))

    def unregister(self, fd: int) -> None:
        """Remove `fd`."""
        self._poll.unregister(fd)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """Wait, rounded up to the millisecond, lest the loop spins before a timer."""
        return [
            (fd, from_poll_events(event)) for fd, event in self._poll.poll(-(-timeout * 1000 // 1))
        ]

    def close(self) -> None:
        """Nothing is held."""


class PollServer(Readiness):
    """poll(2)."""

    poller = PollPoller
