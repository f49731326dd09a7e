"""bjoern: an epoll loop and HTTP in C around a blocking application, in N processes (M4, S5).

The loop (libev) multiplexes any number of connections, so idle connections cost nothing. bjoern
reads a request completely, then calls the application, and the loop stands still until it returns:
a handler that waits or computes stalls every connection of its process. In exchange, a request is
cheaper than in any other WSGI server. bjoern itself is one process; it scales by forking after
listen, as here, and a connection stays with the process that accepted it.

After the response to a HEAD of unknown length, bjoern sends a last chunk that belongs to no
response; a client would take it for the start of the next one. So that response says `close`.

bjoern stops badly: SIGINT ends its loop once the last client has disconnected, which a keep-alive
client never does. So on stop we shut idle connections for reading, and the loop sees them end.
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

from servers.app import wsgi
from servers.blocking.prefork import Prefork
from servers.third_party import unix_peer

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
from functools import partial

from servers.common.packages import without_package
from servers.common.spec import Spec

SPEC: Final = Spec(
    name="bjoern",
    title="bjoern, an epoll loop in C around a blocking application",
    family="third-party",
    processes="a master and N children",
    threads="one",
    concurrency="workers",
    multiplexer="epoll",
    mode="level",
    model=(
        "Loop (libev), parser and responses are in C. bjoern reads the whole request, then",
        "calls the application. Idle connections cost nothing,",
        "but the loop stands still while the application runs or waits.",
    ),
    sleeps=(
        "in epoll_wait(2), for all connections at once",
        "nowhere: read copies immediately",
    ),
    good="many connections and a fast handler: the cheapest request in WSGI",
    bad="a handler that waits: it stalls every connection of its process",
    neighbours=("epoll-lt", "c-extension", "gunicorn"),
    source="servers/third_party/bjoern_http.py",
    limits=(
        "a handler that waits or computes stalls every connection of its process",
        "no timeouts: a slow client keeps its connection",
        "a request split in two right after its path gets 400",
        "of pipelined requests that arrive together, only the last is answered",
        "HEAD of /stream gets an empty chunk; repeated fields are joined without a separator",
        "busy-loops while out of descriptors",
    ),
    lacks=("timeouts", "pipelining", "fragments", "descriptors"),
    claims=("M4", "S5"),
    target="servers.third_party.bjoern_http:BjoernHttp",
    probe=partial(
        without_package, "bjoern", "sudo apt install gcc libev-dev, then pip install bjoern"
    ),
)


_LOOK: Final = 0.05  # seconds between two looks for connections, while stopping


class BjoernHttp(Prefork):
    """A master that keeps N children with a bjoern in each."""

    def _work(self, _slot: int) -> None:
        """Run a child: bjoern's loop until SIGTERM."""
        os.setpgid(0, 0)  # Ctrl-C in a terminal reaches only the master, which sends SIGTERM
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # until bjoern installs its own handler
        signal.signal(signal.SIGTERM, self._end_loop)
        if self._stopping:  # SIGTERM came before the loop started
            return
        unix = self._listener.family == socket.AF_UNIX
        application = unix_peer.application if unix else wsgi.application
        import bjoern  # built from source: may be missing

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
    """Make bjoern stop accepting, then shut all connections for reading until the process ends.

    An idle connection ends at once, a busy one after its answer. The check repeats, because some
    connections are accepted at the last moment.
    """
    while not _catches(signal.SIGINT):  # bjoern's loop has not started yet
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        for entry in Path("/proc/self/fd").iterdir():
            _shut(int(entry.name))
        time.sleep(_LOOK)


def _catches(number: signal.Signals) -> bool:
    """Whether this process has a C-level handler for a signal (man proc(5), SigCgt)."""
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
    except OSError:  # closed in the meantime
        pass
