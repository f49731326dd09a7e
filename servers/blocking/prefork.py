"""N processes sleeping in accept on one listener (S6), as in Apache's prefork MPM and php-fpm.

The kernel wakes one process per connection; no fork is needed. N bounds memory and concurrency:
client N+1 waits in the backlog until a child is free, and an idle keep-alive connection holds its
child for up to five seconds. The master replaces children that die.
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
        "N preforked children sleep in accept on one shared listener.",
        "The kernel wakes one child per connection. The child serves the connection with",
        "blocking calls until it closes, then accepts again. The master replaces dead children.",
    ),
    sleeps=(
        "in recv(2)",
        "in recv(2), while the kernel copies the data",
    ),
    good="handlers that are CPU-bound or may crash; a bounded number of processes",
    bad="many keep-alive clients: N idle connections block the service",
    neighbours=("fork", "prefork-reuseport", "thread-pool", "epoll-exclusive"),
    source="servers/blocking/prefork.py",
    limits=(
        "at most N concurrent connections",
        "an idle keep-alive connection holds its child for up to five seconds",
    ),
    claims=("S6", "S5", "M1"),
    target="servers.blocking.prefork:Prefork",
)


_YOUNG = 1.0  # seconds: delay replacing a child that exits earlier, to avoid a fork loop


class Prefork:
    """The server."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._workers = options.workers
        self._children = Children()
        self._slots: dict[int, int] = {}  # pid -> index among the N children
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
        """Run a child: serve one client after another."""
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
