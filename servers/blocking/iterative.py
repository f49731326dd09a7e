"""One process, one connection at a time: the first server of every book (S1, M1).

accept, serve until the client leaves, accept the next. No code could be shorter; and one client
that is slow, idle, or waits for the application, keeps all others in the backlog.
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
        "accept a connection, serve it until it ends, accept the next.",
        "Every call may put the process to sleep: recv until bytes are there,",
        "send until the kernel has room, sleep while the application waits.",
        "Whoever comes meanwhile waits in the kernel's backlog.",
    ),
    sleeps=("in recv(2)", "in recv(2): the kernel copies while it sleeps"),
    good="learning; one client; a program that is asked once a minute",
    bad="two clients",
    neighbours=("fork", "thread", "select"),
    source="servers/blocking/iterative.py",
    limits=("one connection at a time: the others wait, also while it waits or lies idle",),
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
