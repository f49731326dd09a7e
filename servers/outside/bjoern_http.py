"""bjoern: an epoll loop and HTTP in C around a blocking application, in N processes (S5).

The loop (libev) multiplexes any number of connections, so idle ones cost nothing; a request is
received whole, then the application is called, and the loop stands still until that returns: a
handler that waits or computes holds up every connection of its process. That is the price of the
cheapest request a WSGI server offers. bjoern itself is one process; its way to use more is to
fork after listen, as here, and a connection stays with the process that took it.

After the head that answers a HEAD of unknown length it sends a last chunk, which belongs to no
answer: whoever keeps the connection takes it for the next one. So that head says `close`.

Stopping is its weak side: SIGINT ends its loop once the last client has gone, which a kept
connection never does. So what is idle is shut for reading then, and the loop sees it end.
"""

import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import bjoern

from servers.app import wsgi
from servers.blocking.prefork import Prefork
from servers.outside import unix_peer

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_LOOK: Final = 0.05  # seconds between two looks for connections, while stopping


class BjoernHttp(Prefork):
    """A master that keeps N children with a bjoern in each."""

    def _work(self, _slot: int) -> None:
        """Be a child: bjoern's loop until SIGTERM."""
        os.setpgid(0, 0)  # a terminal's Ctrl-C is for the master, who tells us
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # bjoern takes it for itself meanwhile
        signal.signal(signal.SIGTERM, self._end_loop)
        if self._stopping:  # told so before
            return
        unix = self._listener.family == socket.AF_UNIX
        application = unix_peer.application if unix else wsgi.application
        bjoern.server_run(self._listener, _closed_after_head(application))

    def _end_loop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = True
            threading.Thread(target=_end, daemon=True).start()


def _closed_after_head(application: "WSGIApplication") -> "WSGIApplication":
    """Return `application` with `Connection: close` where bjoern would send a stray last chunk."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "HEAD":
            return application(environ, start_response)

        def start(status: str, headers: list[tuple[str, str]], *exc_info: object) -> object:
            if all(name.lower() != "content-length" for name, _ in headers):
                headers = [*headers, ("Connection", "close")]
            return start_response(status, headers, *exc_info)  # type: ignore[arg-type]

        return application(environ, start)  # type: ignore[arg-type]

    return answer


def _end() -> None:
    """Have bjoern accept no more, and shut every connection for reading, until the process ends.

    An idle one ends at once, one that is answered when its answer has been sent; it is looked for
    them again and again, because some are accepted at the last moment.
    """
    while not _catches(signal.SIGINT):  # its loop is about to begin
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        for entry in Path("/proc/self/fd").iterdir():
            _shut(int(entry.name))
        time.sleep(_LOOK)


def _catches(number: signal.Signals) -> bool:
    """Whether this process has a handler in C for a signal (man proc(5), SigCgt)."""
    status = Path("/proc/self/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def _shut(fd: int) -> None:
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return
        with socket.socket(fileno=os.dup(fd)) as sock:
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                sock.shutdown(socket.SHUT_RD)
    except OSError:  # closed meanwhile
        pass
