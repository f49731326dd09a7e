"""libfcgi, FastCGI's reference implementation in C, called through ctypes: N processes (S5, S6).

The library (Debian's libfcgi0ldbl) reads and writes the records, one request at a time on one
connection, as in the C programs it was made for. This file is what such a program writes around
FCGX_Accept_r, with the WSGI application in the middle. A ctypes call costs about a microsecond; a
small request needs six. A keep-alive connection pins its process, even when idle.

Fact: FCGX_Accept_r sleeps in accept or read, and misses a signal that arrives just before; after
FCGX_ShutdownPending the library sends nothing more, not even the rest of a running response.
Decision: sleep in select, with a waker, on the descriptor the library would sleep on, and call the
library only when that is ready; the listener is nonblocking, so a futile accept returns EAGAIN.
Trade-off: one more system call per request, and a peek at `ipcFd`, a private field.
"""

import ctypes
import errno
import io
import logging
import select
import signal
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from servers.app.wsgi import application
from servers.blocking.prefork import Prefork
from servers.common.stopping import Waker
from servers.third_party import fcgx

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import WSGIEnvironment
import ctypes.util

from servers.common.spec import Spec


def _without_libfcgi() -> str | None:
    if ctypes.util.find_library("fcgi") is None:
        return "libfcgi is not installed: run sudo apt install libfcgi0ldbl"
    return None


SPEC: Final = Spec(
    name="libfcgi",
    title="libfcgi, prefork",
    family="third-party",
    protocol="fastcgi",
    processes="a master and N children",
    threads="one",
    concurrency="workers",
    model=(
        "FastCGI's reference implementation: FCGX_Accept_r accepts a connection and reads",
        "a request, the application answers, FCGX_Finish_r ends the response.",
        "On a keep-alive connection the next request is read from the same socket.",
    ),
    sleeps=("in select(2), then read(2)", "in read(2)"),
    good="a C program that answers requests one after another",
    bad="keep-alive connections: each pins a child, even when idle",
    neighbours=("flup-fork", "uwsgi", "prefork"),
    source="servers/third_party/libfcgi_prefork.py",
    limits=(
        "a keep-alive connection pins a child, even when idle",
        "one request at a time per connection",
    ),
    exceptions=(("file-confined", "libfcgi passes parameters as C strings, which end at a NUL"),),
    claims=("S5", "S6"),
    target="servers.third_party.libfcgi_prefork:LibfcgiPrefork",
    probe=_without_libfcgi,
)


log = logging.getLogger("servers.libfcgi")

_PIECE: Final = 65536  # bytes of content read at once
_REST: Final = 0.1  # seconds without accepting after a failure, perhaps for lack of descriptors


class LibfcgiPrefork(Prefork):
    """A master that keeps N children with libfcgi in each."""

    def _work(self, _slot: int) -> None:
        """Run a child: one connection at a time, one request at a time."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.siginterrupt(signal.SIGTERM, False)  # libfcgi mistakes EINTR for a disconnect
        self._waker = Waker()  # the inherited one belongs to the master
        self._waker.wake_on_signals()
        library, request = fcgx.load(), fcgx.Request()
        library.FCGX_InitRequest(ctypes.byref(request), self._listener.fileno(), 0)
        while self._sleep(request.ipcFd):
            error = -library.FCGX_Accept_r(ctypes.byref(request))
            if not error:
                _serve(library, request)
            elif error != errno.EAGAIN:
                log.warning("cannot accept, trying again in %g s: error %d", _REST, error)
                self._waker.wait(_REST)

    def _sleep(self, kept: int) -> bool:
        """Sleep until the kept connection, or else the listener, is readable; False: stop.

        Only the stop signals wake a child.
        """
        watched: list[Any] = [self._waker, self._listener if kept < 0 else kept]
        return self._waker not in select.select(watched, [], [])[0]


def _serve(library: Any, request: fcgx.Request) -> None:
    """Answer one request; if the answer breaks off, close the connection without END_REQUEST."""
    content = io.BufferedReader(fcgx.Content(library, request.input))
    try:
        _answer(library, request.output, _environ(request, content))
        while content.read(_PIECE):  # else the rest would be parsed as the next request
            pass
    except Exception as error:
        if not isinstance(error, ConnectionError):
            log.exception("an answer broke off")
        library.FCGX_Free(ctypes.byref(request), True)
    else:
        library.FCGX_Finish_r(ctypes.byref(request))


def _environ(request: fcgx.Request, content: io.BufferedIOBase) -> "WSGIEnvironment":
    environ: WSGIEnvironment = {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": content,
        "wsgi.input_terminated": True,  # FastCGI marks the end of STDIN
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for pair in iter(request.envp):
        if pair is None:
            break
        name, _, value = pair.decode("latin-1").partition("=")
        environ[name] = value
    return environ


def _answer(library: Any, stream: int, environ: "WSGIEnvironment") -> None:
    """Call the application and send each piece of its answer at once."""
    head: list[bytes] = []

    def send(data: bytes) -> None:
        if library.FCGX_PutStr(data, len(data), stream) < 0:
            raise ConnectionAbortedError("the web server is gone")

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], object]:
        del exc_info  # our application never calls start_response twice
        lines = [f"Status: {status}", *(f"{name}: {value}" for name, value in headers)]
        head.append("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return send

    pieces: Iterable[bytes] = application(environ, start_response)
    try:
        if isinstance(pieces, list):
            send(b"".join(head + pieces))
            return
        send(head[0])
        for piece in pieces:
            send(piece)
            library.FCGX_FFlush(stream)
    finally:
        if hasattr(pieces, "close"):
            pieces.close()
