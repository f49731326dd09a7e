"""N processes, a listener each on one address (S6; SO_REUSEPORT, man socket(7)).

The kernel chooses by a hash of the addresses which listener a client is queued at, so the
processes share no lock and no queue. The price: the choice is made before anyone knows who is
free. A client hashed to a busy process waits, though its neighbour sleeps. The master keeps all
listeners open, so that what is queued at a process that dies is served by its successor.
"""

import socket
from typing import Final

from chainlab.transport import BACKLOG
from servers.blocking.prefork import Prefork
from servers.common.spec import Spec

SPEC: Final = Spec(
    name="prefork-reuseport",
    title="N processes, a listener each",
    family="blocking",
    processes="a master and N children",
    threads="one",
    concurrency="workers",
    mode="SO_REUSEPORT",
    model=(
        "As prefork, but each child has its own listener on the same address.",
        "The kernel spreads connections by a hash of the addresses: no queue is",
        "shared, and nobody asks whether the chosen child is free.",
    ),
    sleeps=("in recv(2)", "in recv(2): the kernel copies while it sleeps"),
    good="very many short connections, where one accept queue is contended",
    bad="uneven requests: clients wait for a busy child though others are idle",
    neighbours=("prefork", "epoll-exclusive"),
    source="servers/blocking/prefork_reuseport.py",
    limits=(
        "N connections at one time",
        "an idle kept connection holds its child for five seconds at most",
        "a unix socket has no SO_REUSEPORT: there it is prefork",
    ),
    claims=("S6", "M1"),
    target="servers.blocking.prefork_reuseport:PreforkReuseport",
)


class PreforkReuseport(Prefork):
    """The server. A unix socket has no SO_REUSEPORT: there it is plain prefork."""

    def run(self) -> None:
        """Bind a listener for each child, then keep N children until stopped."""
        self._listeners = [self._listener]
        if self._listener.family != socket.AF_UNIX:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            while len(self._listeners) < self._workers:
                self._listeners.append(self._bind_another())
        super().run()

    def _bind_another(self) -> socket.socket:
        listener = socket.socket(self._listener.family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # A client that came before the first listener had SO_REUSEPORT would hold the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self._listener.getsockname())
        listener.listen(BACKLOG)
        return listener

    def _listener_of(self, slot: int) -> socket.socket:
        return self._listeners[slot % len(self._listeners)]

    def close(self) -> None:
        """Close all listeners."""
        for listener in getattr(self, "_listeners", ()):
            listener.close()
        super().close()
