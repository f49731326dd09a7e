"""N processes, one epoll instance each, sharing one listener (E4, S6, S7; EPOLLEXCLUSIVE).

Without the flag, a new connection wakes every process and all but one find the backlog empty: the
thundering herd. With it, the kernel wakes at least one, usually exactly one (man epoll_ctl(2)).
Each process then runs the level-triggered loop on its own core. The flag does not balance load:
a process that accepts faster gets more connections.
"""

import signal
import socket
from typing import Final

from servers.blocking.prefork import Prefork
from servers.common.spec import Options, Spec
from servers.multiplexing.epoll_level import EpollServer
from servers.multiplexing.pollers import EXCLUSIVE, READABLE

SPEC: Final = Spec(
    name="epoll-exclusive",
    title="N processes, one epoll each, one listener",
    family="multiplexing",
    processes="a master and N children",
    threads="one",
    multiplexer="epoll",
    mode="level, EPOLLEXCLUSIVE",
    model=(
        "N processes each run the level-triggered loop with their own epoll instance.",
        "All register the shared listener with EPOLLEXCLUSIVE: a new connection wakes",
        "one process, not the herd. nginx and our gateway use this model.",
    ),
    sleeps=(
        "in epoll_wait(2), in each process",
        "nowhere: recv copies immediately",
    ),
    good="many connections on more than one core",
    bad="balance: a process that accepts faster gets more connections, and keeps them",
    neighbours=("epoll-lt", "prefork", "prefork-reuseport"),
    source="servers/multiplexing/epoll_exclusive.py",
    limits=("a CPU-bound handler stalls every connection of its process",),
    claims=("E4", "S6", "S7"),
    target="servers.multiplexing.epoll_exclusive:EpollExclusive",
)


class EpollExclusive(Prefork):
    """The master, as prefork's; its children are loops."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        super().__init__(listener, options)
        self._options = options
        self._loop: _Loop | None = None  # in a child

    def _work(self, slot: int) -> None:
        """Run a child, which has its own readiness loop."""
        del slot
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._loop = _Loop(self._listener, self._options)
        if not self._stopping:
            self._loop.run()

    def stop(self) -> None:
        """Stop the loop in a child, all of them in the master."""
        if self._loop is not None:
            self._loop.stop()
        super().stop()


class _Loop(EpollServer):
    """The level-triggered loop; only the way it waits for the listener differs."""

    def _open(self) -> None:
        self._poller = self.poller()
        self._poller.register(self._waker.fileno(), READABLE)

    def _listen(self, *, wanted: bool) -> None:
        """EPOLLEXCLUSIVE may be added and removed, but not changed."""
        if wanted:
            self._poller.register(self._listener.fileno(), READABLE | EXCLUSIVE)
        else:
            self._poller.unregister(self._listener.fileno())
