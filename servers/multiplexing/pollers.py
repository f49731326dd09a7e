"""The port between the readiness loop and select, poll or epoll.

A poller takes interest per descriptor and reports what is ready, level-triggered: a descriptor is
reported for as long as it is ready. The three differ in who keeps the set. select and poll pass
the whole set at each call, and the kernel walks it (E1, E3); epoll keeps it in the kernel, where a
change costs a call (epoll_ctl) and a wait costs what is ready (E4).
"""

import select
from typing import Final, Protocol

READABLE, WRITABLE = 1, 2
"""Interest, and what is reported; an error or a hang-up is reported as both."""

EXCLUSIVE: Final = select.EPOLLEXCLUSIVE
"""Interest for epoll alone, at registration only: wake one of the epolls that wait."""


class Poller(Protocol):
    """A set of descriptors and what is waited for."""

    limit: int | None
    """The first descriptor number that it cannot hold; None: any."""

    def register(self, fd: int, interest: int) -> None:
        """Add `fd`; interest 0 waits for nothing but errors, where the poller reports them."""

    def modify(self, fd: int, interest: int) -> None:
        """Change what is waited for."""

    def unregister(self, fd: int) -> None:
        """Remove `fd`, before it is closed."""

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """Return (descriptor, readiness) pairs; waits up to `timeout` seconds for the first."""

    def close(self) -> None:
        """Free what it holds."""


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
