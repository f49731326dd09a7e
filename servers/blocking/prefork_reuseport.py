"""N processes, each with its own listener on the same address (S6; SO_REUSEPORT, man socket(7)).

The kernel picks a listener by hashing the connection's addresses, so the processes share neither a
lock nor an accept queue. The drawback: the hash ignores load, so a client may queue behind a busy
process while another is idle. The master keeps all listeners open; connections queued for a process
that dies are served by its replacement.
"""

import socket
from typing import Final

from chainlab.transport import BACKLOG
from servers.blocking.prefork import Prefork
from servers.common.spec import Spec

SPEC: Final = Spec(
    name="prefork-reuseport",
    title="N processes, one listener each",
    family="blocking",
    processes="a master and N children",
    threads="one",
    concurrency="workers",
    model=(
        "Like prefork, but each child has its own listener on the same address.",
        "The kernel distributes connections by a hash of their addresses: no shared",
        "accept queue, but also no regard for which child is free.",
    ),
    sleeps=(
        "in recv(2)",
        "in recv(2), while the kernel copies the data",
    ),
    good="very many short connections, where a shared accept queue is contended",
    bad="uneven requests: clients queue behind a busy child while others are idle",
    neighbours=("prefork", "epoll-exclusive"),
    source="servers/blocking/prefork_reuseport.py",
    limits=(
        "at most N concurrent connections",
        "an idle keep-alive connection holds its child for up to five seconds",
        "unix sockets do not support SO_REUSEPORT: falls back to prefork",
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
