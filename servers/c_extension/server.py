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

from servers.app import routes
from servers.c_extension._server import Loop
from servers.event_server import descriptor_limit
from servers.session import IDLE, PATIENCE
from servers.spec import Options
from servers.stopping import GRACE


class CExtension:
    """The server."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
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
