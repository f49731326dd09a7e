"""select(2): every call passes three descriptor sets to the kernel and back (M3, E1-E3).

The process sleeps in select for all connections at once. Each call copies three 1,024-bit sets in
and out, and the kernel scans every descriptor up to the highest one. A connection whose descriptor
is FD_SETSIZE (1,024) or above does not fit, and gets 503.
"""

import select
from typing import Final

from servers.common.spec import Spec
from servers.multiplexing.pollers import READABLE, WRITABLE
from servers.multiplexing.readiness import Readiness

SPEC: Final = Spec(
    name="select",
    title="readiness by select",
    family="multiplexing",
    processes="one",
    threads="one",
    multiplexer="select",
    mode="level",
    model=(
        "Every select call passes all descriptors, as three sets of 1,024 bits.",
        "The process sleeps until one is ready, then scans the returned sets.",
        "recv and send on a ready descriptor do not block.",
    ),
    sleeps=(
        "in select(2), for all connections at once",
        "nowhere: recv copies immediately",
    ),
    good="a few dozen descriptors, on any platform",
    bad="many connections: every call copies and scans all of them; at most 1,024 descriptors",
    neighbours=("poll", "epoll-lt", "iterative", "busy-poll", "php-select"),
    source="servers/multiplexing/select_server.py",
    limits=(
        "FD_SETSIZE: a connection with descriptor >= 1024 gets 503",
        "a CPU-bound handler stalls every connection",
    ),
    claims=("M3", "M4", "E1", "E2", "E3", "E6", "S7"),
    target="servers.multiplexing.select_server:SelectServer",
)


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
        """Change the interest in `fd`."""
        (self._reading.add if interest & READABLE else self._reading.discard)(fd)
        (self._writing.add if interest & WRITABLE else self._writing.discard)(fd)

    def unregister(self, fd: int) -> None:
        """Remove `fd`."""
        self.modify(fd, 0)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """Pass both sets to the kernel, scan the sets that it returns."""
        reading, writing, _ = select.select(self._reading, self._writing, (), timeout)
        return [(fd, READABLE) for fd in reading] + [(fd, WRITABLE) for fd in writing]

    def close(self) -> None:
        """Do nothing: there are no resources to free."""


class SelectServer(Readiness):
    """select(2)."""

    poller = SelectPoller
