"""One process, one connection at a time: the textbook's first server (S1, M1).

Accept a connection, serve it until the client disconnects, accept the next. This is the shortest
possible server, but a single slow, idle or waiting client leaves all others in the backlog.
"""

import socket
from typing import Final

from servers.blocking.serve import accept, make_blocking, serve
from servers.common.spec import Options, Spec

SPEC: Final = Spec(
    name="iterative",
    title="one connection at a time",
    family="blocking",
    processes="one",
    threads="one",
    concurrency="one",
    model=(
        "Accept a connection, serve it until it closes, accept the next.",
        "Every call may block: recv until data arrives, send until the socket",
        "buffer has room, sleep while the application waits.",
        "Meanwhile, new connections wait in the kernel's backlog.",
    ),
    sleeps=(
        "in recv(2)",
        "in recv(2), while the kernel copies the data",
    ),
    good="learning; a single client; a service called once a minute",
    bad="two clients",
    neighbours=("fork", "thread", "select"),
    source="servers/blocking/iterative.py",
    limits=("one connection at a time: all others wait, even while that connection is idle",),
    claims=("S1", "M1", "M4", "K4"),
    target="servers.blocking.iterative:Iterative",
)


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
