"""One process, one connection at a time: the first server of every book (S1, M1).

accept, serve until the client leaves, accept the next. No code could be shorter; and one client
that is slow, idle, or waits for the application, keeps all others in the backlog.
"""

import socket

from servers.blocking.serve import accept, make_blocking, serve
from servers.spec import Options


class Iterative:
    """The server."""

    def __init__(self, listener: socket.socket, _options: Options) -> None:
        self._listener = listener
        self._stopping = False

    def run(self) -> None:
        """Serve one client after the other until stopped."""
        make_blocking(self._listener)
        while not self._stopping:
            sock = accept(self._listener)
            if sock is not None:
                serve(sock, lambda: self._stopping)

    def stop(self) -> None:
        """Take no more clients; the one at hand gets its answer."""
        self._stopping = True

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()
