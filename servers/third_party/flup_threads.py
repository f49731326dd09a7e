"""flup's threaded server with our listener, stop procedure and connection handling."""

import logging
import select
import socket
from typing import Any

from flup.server.fcgi import WSGIServer
from flup.server.fcgi_base import Connection, Request

from servers.app.wsgi import application
from servers.common.stopping import GRACE, Running, Waker

log = logging.getLogger("servers.flup")


class _Connection(Connection):  # type: ignore[misc]  # flup has no types
    """Reports its end, which frees its thread."""

    def run(self) -> None:
        try:
            super().run()
        except OSError as error:
            log.info("a connection broke: %s", error)
        finally:
            self.server.freed.wake()


class _Request(Request):  # type: ignore[misc]
    """Counts as a running request."""

    def run(self) -> None:
        with self.server.running:
            super().run()


class ThreadedServer(WSGIServer):  # type: ignore[misc]
    """flup's server; its thread pool starts at once."""

    request_class = _Request

    def __init__(self, listener: socket.socket, workers: int, waker: Waker) -> None:
        super().__init__(
            application,
            environ={"wsgi.input_terminated": True},  # FastCGI marks the end of STDIN
            bindAddress=listener.getsockname(),
            minSpare=workers,
            maxSpare=workers,
            maxThreads=workers,
        )
        self._listener = listener
        self._free = workers
        self._waker = waker
        self.freed = Waker()
        self.running = Running()

    def serve(self) -> None:
        """Pass connections to threads until woken, then wait for running requests."""
        while not self._waker.woken:
            watched: list[Any] = [self._waker, self.freed]
            if self._free:
                watched.append(self._listener)
            ready = select.select(watched, [], [])[0]
            self._free += self.freed.count()
            if self._listener in ready:
                self._accept()
        self.running.wait_until_none(GRACE)

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # out of descriptors: a pause, or the loop would spin
            log.error("cannot accept: %s", error)
            self._waker.wait(0.05)
            return
        self._free -= 1
        self._threadPool.addJob(_Connection(connection, address, self, None))
