"""The interface between the readiness loop and select, poll or epoll.

A poller registers interest per descriptor and reports readiness, level-triggered: it reports a
descriptor for as long as it is ready. The pollers differ in where the set is kept. select and poll
pass the whole set in each call, and the kernel scans it (E1, E3). epoll keeps it in the kernel: a
change costs a call (epoll_ctl), and the cost of a wait depends only on what is ready (E4).
"""

import select
from typing import Final, Protocol

READABLE, WRITABLE = 1, 2
"""Interest and readiness; an error or a hang-up is reported as both."""

EXCLUSIVE: Final = select.EPOLLEXCLUSIVE
"""Interest for epoll only, at registration only: wake one of the waiting epoll instances."""


class Poller(Protocol):
    """A set of descriptors with the interest in each."""

    limit: int | None
    """The first descriptor number that it cannot hold; None: any."""

    def register(self, fd: int, interest: int) -> None:
        """Add `fd`; with interest 0, only errors are reported, if the poller reports errors."""

    def modify(self, fd: int, interest: int) -> None:
        """Change the interest in `fd`."""

    def unregister(self, fd: int) -> None:
        """Remove `fd`, before it is closed."""

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """Return (descriptor, readiness) pairs; waits up to `timeout` seconds for the first."""

    def close(self) -> None:
        """Free its resources."""


# poll's and epoll's bits are the same numbers: POLLIN is EPOLLIN, POLLOUT is EPOLLOUT.


def to_poll_events(interest: int) -> int:
    """Return interest as poll's and epoll's event bits."""
    return (select.POLLIN if interest & READABLE else 0) | (
        select.POLLOUT if interest & WRITABLE else 0
    )


def from_poll_events(event: int) -> int:
    """Return event bits as readiness; an error or a hang-up counts as both."""
    if event & (select.POLLERR | select.POLLHUP):
        return READABLE | WRITABLE
    return (READABLE if event & select.POLLIN else 0) | (WRITABLE if event & select.POLLOUT else 0)
