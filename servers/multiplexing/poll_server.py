"""poll(2): every call passes an array of descriptors and events to the kernel (M3, E3, E5).

Compared with select: no 1,024-descriptor limit, and returned events are separate from requested
events. The kernel still scans the whole array on every call.
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
        "Every poll call passes an array of descriptors and events.",
        "The process sleeps until one is ready. There is no 1,024-descriptor limit,",
        "but the kernel still scans the whole array on every call.",
    ),
    sleeps=(
        "in poll(2), for all connections at once",
        "nowhere: recv copies immediately",
    ),
    good="a few hundred descriptors",
    bad="thousands of mostly idle descriptors",
    neighbours=("select", "epoll-lt"),
    source="servers/multiplexing/poll_server.py",
    limits=("a CPU-bound handler stalls every connection",),
    claims=("M3", "E3", "E5", "S7"),
    target="servers.multiplexing.poll_server:PollServer",
)


class PollPoller:
    """poll(2): an array of pollfd, without select's limit; the kernel still scans it."""

    limit: int | None = None

    def __init__(self) -> None:
        self._poll = select.poll()

    def register(self, fd: int, interest: int) -> None:
        """Add `fd`."""
        self._poll.register(fd, to_poll_events(interest))

    def modify(self, fd: int, interest: int) -> None:
        """Change the interest in `fd`."""
        self._poll.modify(fd, to_poll_events(interest))

    def unregister(self, fd: int) -> None:
        """Remove `fd`."""
        self._poll.unregister(fd)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """Wait; rounds up to a millisecond, or the loop would spin until a timer is due."""
        return [
            (fd, from_poll_events(event)) for fd, event in self._poll.poll(-(-timeout * 1000 // 1))
        ]

    def close(self) -> None:
        """Do nothing: there are no resources to free."""


class PollServer(Readiness):
    """poll(2)."""

    poller = PollPoller
