"""N processes with an epoll each, and one listener in all of them (S6, S7; EPOLLEXCLUSIVE).

Without the flag a client would wake every process, and all but one would find the backlog empty:
the thundering herd. With it the kernel wakes one at least, mostly one only (man epoll_ctl(2)).
Each process then serves its connections as the level-triggered loop does, on its own core. What
the flag does not do is share the load: a process that is quick to accept gets more connections.
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
    title="N processes, an epoll each, one listener",
    family="multiplexing",
    processes="a master and N children",
    threads="one",
    multiplexer="epoll",
    mode="level, EPOLLEXCLUSIVE",
    model=(
        "N processes, each with the level-triggered loop and its own epoll.",
        "The one listener is in all of them with EPOLLEXCLUSIVE: a client wakes",
        "one process, not the herd. This is nginx's and our gateway's model.",
    ),
    sleeps=("in epoll_wait(2), each process", "nowhere: recv copies at once"),
    good="many connections and more than one core",
    bad="balance: who accepts quickly gets more connections, and keeps them",
    neighbours=("epoll-lt", "prefork", "prefork-reuseport"),
    source="servers/multiplexing/epoll_exclusive.py",
    limits=("a handler that computes holds up the connections of its process",),
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
        """Be a child: a readiness loop of its own."""
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
