"""The door to the C extension: what is Python in it but the application.

The loop, the parser and the sending are C (loop.c, conn.c, http.c, output.c); answer.c calls the
application and follows its answer. The GIL is given away in epoll_wait, so other Python threads
run while it sleeps; a handler holds it, as anywhere. What it costs is a compiler at installation,
and that a mistake in it ends the process, or worse, where Python would raise.
"""

import logging
import signal
import socket
import threading
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

from servers.app import routes
from servers.common.event_server import descriptor_limit
from servers.common.session import IDLE, PATIENCE
from servers.common.spec import Options, Spec
from servers.common.stopping import GRACE


def _without_extension() -> str | None:
    """Look for the file: importing it would import the package around it."""
    folder = Path(__file__).parent
    if any((folder / f"_server{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        return None
    return "not built: install gcc and python3-dev, then run make setup"


SPEC: Final = Spec(
    name="c-extension",
    title="a loop and an HTTP server in C, called from Python",
    family="multiplexing",
    processes="one",
    threads="one",
    multiplexer="epoll",
    mode="edge",
    model=(
        "An extension of CPython: the epoll loop, the parser and the sending are C,",
        "and call the handlers, which are Python. Interest is registered once for each",
        "connection. The GIL is given away while epoll_wait sleeps.",
    ),
    sleeps=("in epoll_wait(2), without the GIL", "nowhere: recv copies at once"),
    good="the least a request can cost while a Python handler answers it",
    bad="changing it: a mistake in C ends the process, or is a hole in it",
    neighbours=("epoll-et", "bjoern", "io-uring"),
    source="servers/c_extension/loop.c",
    limits=(
        "it needs a compiler when it is installed",
        "a handler that computes holds up everybody",
    ),
    claims=("S11", "S2", "E10", "E12"),
    target="servers.c_extension.server:CExtension",
    probe=_without_extension,
)


class CExtension:
    """The server."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        from servers.c_extension._server import Loop  # compiled: may be missing

        self._loop = Loop(
            routes,
            logging.getLogger("servers"),
            connections=min(options.connections, descriptor_limit()),
            patience=PATIENCE,
            idle=IDLE,
        )
        self._on_signals = False

    def run(self) -> None:
        """Serve until stopped; each signal wakes the loop, which runs its Python handler."""
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._loop.fileno(), warn_on_full_buffer=False)
            self._on_signals = True
        self._loop.run(self._listener.fileno(), grace=GRACE)

    def stop(self) -> None:
        """Take no more connections, let running requests finish (GRACE), then return."""
        self._loop.stop()

    def close(self) -> None:
        """Close everything, connections too."""
        if self._on_signals:
            signal.set_wakeup_fd(-1)
        self._loop.close()
        self._listener.close()
