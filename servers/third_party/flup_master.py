"""flup's prefork server with our listener, stop procedure and connection handling."""

import logging
import os
import select
import signal
import socket
import time
from types import FrameType
from typing import Final

from flup.server.fcgi_base import Connection, Request
from flup.server.fcgi_fork import WSGIServer

from servers.app.wsgi import application
from servers.common.stopping import GRACE, Waker, die_with_parent

log = logging.getLogger("servers.flup")

_PAUSE: Final = 0.05  # seconds before a dead child is replaced


class _Connection(Connection):  # type: ignore[misc]  # flup has no types
    """If the web server disconnects in mid-request, only the connection ends, not the child."""

    def run(self) -> None:
        try:
            super().run()
        except OSError as error:
            log.info("a connection broke: %s", error)


class _Request(Request):  # type: ignore[misc]
    """Records in the child whether it is busy."""

    def run(self) -> None:
        self.server.busy = True
        try:
            super().run()
        finally:
            self.server.busy = False
        if self.server.ending:
            os._exit(0)


class Master(WSGIServer):  # type: ignore[misc]
    """flup's server in the master, and after a fork in each child."""

    request_class = _Request

    def __init__(self, listener: socket.socket, workers: int, waker: Waker) -> None:
        environ = {"wsgi.input_terminated": True}  # FastCGI marks the end of STDIN
        super().__init__(application, environ=environ, bindAddress=listener.getsockname())
        self._jobClass = _Connection
        self._web_server_addrs = None  # any peer may connect
        self._listener = listener
        self._workers = workers
        self._waker = waker
        self._pid = os.getpid()
        self.busy = False
        self.ending = False

    def serve(self) -> None:
        """Fork, replace what ends, until woken; then end all."""
        # What flup restores in each child, before its loop.
        self._oldSIGs = [(signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.SIG_DFL)]
        while not self._waker.woken:
            while len(self._children) < self._workers and self._spawnChild(self._listener):
                pass
            self._wait_for_children()
            self._reapChildren()
            if len(self._children) < self._workers:
                self._waker.wait(_PAUSE)
        self._end_children()

    def _wait_for_children(self) -> None:
        """Sleep until a child reports (each connection, taken or done), ends, or we are woken."""
        files = [child["file"] for child in self._children.values()]
        for file in select.select([self._waker, *files], [], [], 1.0)[0]:
            if file is not self._waker:
                file.recv(4096)  # flup's states; a pool of fixed size needs none

    def _end_children(self) -> None:
        deadline = time.monotonic() + GRACE
        for pid, child in self._children.items():
            child["file"].close()  # ends a child that waits for a connection
            child["file"] = None
            os.kill(pid, signal.SIGQUIT)  # and one that keeps an idle one
        while self._children and time.monotonic() < deadline:
            time.sleep(0.005)
            self._reapChildren()
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        for pid in self._children:
            os.waitpid(pid, 0)

    # In a child

    def _child(self, sock: socket.socket, parent: socket.socket) -> None:
        """flup's loop, which must not return into the master's code."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)  # the pipe is the master's
            die_with_parent(self._pid)
            signal.signal(signal.SIGQUIT, self._on_quit)
            super()._child(sock, parent)
            code = 0
        except BaseException:
            log.exception("a child failed")
        finally:
            os._exit(code)

    def _on_quit(self, _number: int, _frame: FrameType | None) -> None:
        if not self.busy:
            os._exit(0)
        self.ending = True
