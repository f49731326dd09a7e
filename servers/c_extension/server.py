"""The Python interface of the C extension.

The loop, the parser and the sending are in C (loop.c, conn.c, http.c, output.c); answer.c calls the
application and sends its answer. The GIL is released in epoll_wait, so other Python threads run
while the loop sleeps; handlers hold it, as usual. The cost: installation needs a compiler, and a
bug in C crashes the process, or worse, where Python would raise an exception.
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
    """Look for the compiled file, because importing it would import the whole package."""
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
        "An extension of CPython: epoll loop, parser and sending are in C, and call",
        "handlers in Python. Each connection is registered with epoll once.",
        "The GIL is released while epoll_wait sleeps.",
    ),
    sleeps=("in epoll_wait(2), without the GIL", "nowhere: recv copies immediately"),
    good="the lowest cost per request with a handler in Python",
    bad="changes: a bug in C crashes the process or opens a security hole",
    neighbours=("epoll-et", "bjoern", "io-uring"),
    source="servers/c_extension/loop.c",
    limits=(
        "installation needs a C compiler",
        "a CPU-bound handler stalls every connection",
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
        """Make `run` accept no more, let running requests finish (GRACE) and return."""
        self._loop.stop()

    def close(self) -> None:
        """Close everything, including connections."""
        if self._on_signals:
            signal.set_wakeup_fd(-1)
        self._loop.close()
        self._listener.close()
