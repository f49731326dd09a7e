"""epoll(7), level-triggered: the kernel keeps the set of descriptors (M3, E4, E7-E10, E15).

Compared with poll: epoll_ctl adds, modifies and removes single descriptors, and epoll_wait returns
only the ready ones. The cost of a wait depends on how many are ready, not how many are watched.
Level-triggered: a descriptor that still has unread data is reported again.
"""

import select
from typing import Final

from servers.common.spec import Spec
from servers.multiplexing.pollers import EXCLUSIVE, from_poll_events, to_poll_events
from servers.multiplexing.readiness import Readiness

SPEC: Final = Spec(
    name="epoll-lt",
    title="readiness by epoll, level-triggered",
    family="multiplexing",
    processes="one",
    threads="one",
    multiplexer="epoll",
    mode="level",
    model=(
        "The kernel keeps the interest set; epoll_ctl changes one descriptor at a time.",
        "epoll_wait sleeps until some are ready and returns only those:",
        "its cost grows with the ready descriptors, not the watched ones.",
        "Level-triggered: unread data is reported again.",
    ),
    sleeps=(
        "in epoll_wait(2), for all connections at once",
        "nowhere: recv copies immediately",
    ),
    good="ten thousand mostly idle connections",
    bad="descriptors whose interest changes often: each change costs a system call",
    neighbours=("select", "poll", "epoll-et", "coroutine"),
    source="servers/multiplexing/epoll_level.py",
    limits=("a CPU-bound handler stalls every connection",),
    claims=("M3", "E4", "E7", "E8", "E9", "E10", "E15", "S7", "S9"),
    target="servers.multiplexing.epoll_level:EpollServer",
)


_MAX_EVENTS: Final = 512  # taken in one epoll_wait


class EpollPoller:
    """epoll(7), level-triggered: the set lives in the kernel."""

    limit: int | None = None

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def register(self, fd: int, interest: int) -> None:
        """Add `fd` (EPOLL_CTL_ADD)."""
        self._epoll.register(fd, to_poll_events(interest) | interest & EXCLUSIVE)

    def modify(self, fd: int, interest: int) -> None:
        """Change the interest in `fd` (EPOLL_CTL_MOD)."""
        self._epoll.modify(fd, to_poll_events(interest))

    def unregister(self, fd: int) -> None:
        """Remove `fd` (EPOLL_CTL_DEL)."""
        self._epoll.unregister(fd)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """Return the ready descriptors only."""
        return [
            (fd, from_poll_events(event)) for fd, event in self._epoll.poll(timeout, _MAX_EVENTS)
        ]

    def close(self) -> None:
        """Close the epoll descriptor (E8)."""
        self._epoll.close()


class EpollServer(Readiness):
    """epoll(7), level-triggered."""

    poller = EpollPoller
