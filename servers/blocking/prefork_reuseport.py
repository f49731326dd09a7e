"""N processes, a listener each on one address (S6; SO_REUSEPORT, man socket(7)).

The kernel chooses by a hash of the addresses which listener a client is queued at, so the
processes share no lock and no queue. The price: the choice is made before anyone knows who is
free. A client hashed to a busy process waits, though its neighbour sleeps. The master keeps all
listeners open, so that what is queued at a process that dies is served by its successor.
"""

import socket

from servers.blocking.prefork import Prefork
from transport import BACKLOG


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
