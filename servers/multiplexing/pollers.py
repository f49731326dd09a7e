"""select, poll and epoll behind one interface: the readiness loop is written once above them.

Each takes interest per descriptor and returns what is ready, level-triggered: a descriptor is
reported as long as it is ready. What differs is who keeps the set. select and poll are handed the
whole set at each call and the kernel walks it (E1, E3); epoll keeps it in the kernel, changes cost
a call each (epoll_ctl), and waiting costs what is ready (E4).
"""

import select
from typing import Final, Protocol

READABLE, WRITABLE = 1, 2
"""Interest, and what is reported; an error or a hang-up is reported as both."""

EXCLUSIVE: Final = select.EPOLLEXCLUSIVE
"""Interest for epoll alone, at registration only: wake one of the epolls that wait."""

_MOST: Final = 512  # events taken in one call of epoll_wait


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


class SelectPoller:
    """select(2): three sets of 1,024 bits, in and out at each call."""

    limit: int | None = 1024

    def __init__(self) -> None:
        self._reading: set[int] = set()
        self._writing: set[int] = set()

    def register(self, fd: int, interest: int) -> None:
        """Add `fd`."""
        self.modify(fd, interest)

    def modify(self, fd: int, interest: int) -> None:
        """Change what is waited for."""
        (self._reading.add if interest & READABLE else self._reading.discard)(fd)
        (self._writing.add if interest & WRITABLE else self._writing.discard)(fd)

    def unregister(self, fd: int) -> None:
        """Remove `fd`."""
        self.modify(fd, 0)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """Hand both sets over, walk what comes back."""
        reading, writing, _ = select.select(self._reading, self._writing, (), timeout)
        return [(fd, READABLE) for fd in reading] + [(fd, WRITABLE) for fd in writing]

    def close(self) -> None:
        """Nothing is held."""


class PollPoller:
    """poll(2): an array of pollfd, without select's limit; the kernel still walks it."""

    limit: int | None = None

    def __init__(self) -> None:
        self._poll = select.poll()

    def register(self, fd: int, interest: int) -> None:
        """Add `fd`."""
        self._poll.register(fd, _to_poll(interest))

    def modify(self, fd: int, interest: int) -> None:
        """Change what is waited for."""
        self._poll.modify(fd, _to_poll(interest))

    def unregister(self, fd: int) -> None:
        """Remove `fd`."""
        self._poll.unregister(fd)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """Wait, rounded up to the millisecond, lest the loop spins before a timer."""
        return [(fd, _from_poll(event)) for fd, event in self._poll.poll(-(-timeout * 1000 // 1))]

    def close(self) -> None:
        """Nothing is held."""


class EpollPoller:
    """epoll(7), level-triggered: the set lives in the kernel."""

    limit: int | None = None

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def register(self, fd: int, interest: int) -> None:
        """Add `fd` (EPOLL_CTL_ADD)."""
        self._epoll.register(fd, _to_poll(interest) | interest & EXCLUSIVE)

    def modify(self, fd: int, interest: int) -> None:
        """Change what is waited for (EPOLL_CTL_MOD)."""
        self._epoll.modify(fd, _to_poll(interest))

    def unregister(self, fd: int) -> None:
        """Remove `fd` (EPOLL_CTL_DEL)."""
        self._epoll.unregister(fd)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """Return only what is ready."""
        return [(fd, _from_poll(event)) for fd, event in self._epoll.poll(timeout, _MOST)]

    def close(self) -> None:
        """Close the epoll descriptor (E8)."""
        self._epoll.close()


# poll's and epoll's bits are the same numbers: POLLIN is EPOLLIN, POLLOUT is EPOLLOUT.


def _to_poll(interest: int) -> int:
    return (select.POLLIN if interest & READABLE else 0) | (
        select.POLLOUT if interest & WRITABLE else 0
    )


def _from_poll(event: int) -> int:
    if event & (select.POLLERR | select.POLLHUP):
        return READABLE | WRITABLE
    return (READABLE if event & select.POLLIN else 0) | (WRITABLE if event & select.POLLOUT else 0)
