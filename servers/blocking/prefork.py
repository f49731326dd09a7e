"""N processes asleep in accept on one listener (S6), as Apache's prefork and php-fpm.

The kernel wakes one of them for each client; no fork on the way. N bounds memory and what runs at
one time: the N+1st client waits in the backlog until a child is free, and an idle kept connection
holds a child (for five seconds at most). A child that dies is replaced.
"""

import signal
import socket
from functools import partial
from typing import Final

from servers.blocking.children import Children
from servers.blocking.serve import accept, make_blocking, serve
from servers.common.spec import Options, Spec
from servers.common.stopping import Waker

SPEC: Final = Spec(
    name="prefork",
    title="N processes in accept on one listener",
    family="blocking",
    processes="a master and N children",
    threads="one",
    concurrency="workers",
    model=(
        "N children, forked beforehand, sleep in accept on one listener.",
        "The kernel wakes one for each connection; it serves, blocking, until that",
        "ends, and sleeps in accept again. The master replaces those that die.",
    ),
    sleeps=("in recv(2)", "in recv(2): the kernel copies while it sleeps"),
    good="handlers that compute or crash; a bounded number of each",
    bad="many clients that keep their connections: N idle ones stop the service",
    neighbours=("fork", "prefork-reuseport", "thread-pool", "epoll-exclusive"),
    source="servers/blocking/prefork.py",
    limits=(
        "N connections at one time",
        "an idle kept connection holds its child for five seconds at most",
    ),
    claims=("S6", "S5", "M1"),
    target="servers.blocking.prefork:Prefork",
)


_YOUNG = 1.0  # seconds: a child that ends earlier is not replaced at once, lest we fork in a loop


class Prefork:
    """The server."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._workers = options.workers
        self._children = Children()
        self._slots: dict[int, int] = {}  # which of the N a pid is
        self._waker = Waker()
        self._stopping = False

    def run(self) -> None:
        """Keep N children until stopped."""
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # recorded by the wake-up
        self._waker.wake_on_signals()
        while not self._stopping:
            if any(seconds < _YOUNG for seconds in self._reap().values()):
                self._waker.rest(_YOUNG)
            for slot in sorted(set(range(self._workers)) - set(self._slots.values())):
                self._slots[self._children.start(partial(self._work, slot))] = slot
            self._waker.rest(60.0)
        self._children.stop(self._waker.rest)

    def _reap(self) -> dict[int, float]:
        ended = self._children.reap()
        for pid in ended:
            del self._slots[pid]
        return ended

    def _work(self, slot: int) -> None:
        """Be a child: one client after the other."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener = self._listener_of(slot)
        make_blocking(listener)
        while not self._stopping:
            sock = accept(listener)
            if sock is not None:
                serve(sock, lambda: self._stopping)

    def _listener_of(self, _slot: int) -> socket.socket:
        return self._listener

    def stop(self) -> None:
        """Take no more clients; those being served get their answers."""
        self._stopping = True
        self._waker.wake()

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()
        self._waker.close()
