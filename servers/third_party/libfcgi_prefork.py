"""libfcgi, the reference implementation of FastCGI in C, called by ctypes: N processes (S5).

Records are read and written by the library (Debian's libfcgi0ldbl), one request at a time on one
connection, as in the C programs it was made for; this file is what such a program writes around
FCGX_Accept_r, with the WSGI application in the middle. A call through ctypes costs about a
microsecond, and there are six for a small request. A kept connection pins its process, idle or not.

Fact: FCGX_Accept_r sleeps in accept or in read, and a signal just before that is lost on it; once
its own FCGX_ShutdownPending is called, it sends no byte any more, not even of a running answer.
Decision: we sleep in select, with a waker, on whatever the library would sleep on, and call it when
there is something; the listener is nonblocking, so it comes back with EAGAIN when there is not.
Trade-off: one system call more for each request, and a look at `ipcFd`, which is its own affair.
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
        "The reference implementation of FastCGI: FCGX_Accept_r takes a connection and",
        "reads a request from it, the application answers, FCGX_Finish_r ends the answer,",
        "and the next request is read from the same connection, if it is kept.",
    ),
    sleeps=("in select(2), then read(2)", "in read(2)"),
    good="a program in C that answers one request after the other",
    bad="kept connections: each pins a child, idle or not",
    neighbours=("flup-fork", "uwsgi", "prefork"),
    source="servers/third_party/libfcgi_prefork.py",
    limits=("a kept connection pins a child, idle or not", "one request at a time on a connection"),
    exceptions=(
        ("file-confined", "parameters are strings of C: a path with a NUL ends before it"),
    ),
    claims=("S5", "S6"),
    target="servers.third_party.libfcgi_prefork:LibfcgiPrefork",
    probe=_without_libfcgi,
)


log = logging.getLogger("servers.libfcgi")

_PIECE: Final = 65536  # bytes of content read at once
_REST: Final = 0.1  # seconds without accepting when that failed, for want of descriptors perhaps


class LibfcgiPrefork(Prefork):
    """A master that keeps N children with libfcgi in each."""

    def _work(self, _slot: int) -> None:
        """Be a child: one connection after the other, one request after the other."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.siginterrupt(signal.SIGTERM, False)  # libfcgi takes EINTR for the end of a client
        self._waker = Waker()  # the one before is the master's
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
        """Sleep until the kept connection, or without one the listener, has something; False: stop.

        No other signal than those that stop wakes a child.
        """
        watched: list[Any] = [self._waker, self._listener if kept < 0 else kept]
        return self._waker not in select.select(watched, [], [])[0]


def _serve(library: Any, request: fcgx.Request) -> None:
    """Answer one request; an answer that breaks off ends its connection without END_REQUEST."""
    content = io.BufferedReader(fcgx.Content(library, request.input))
    try:
        _answer(library, request.output, _environ(request, content))
        while content.read(_PIECE):  # or its rest would be taken for the next request
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
        "wsgi.input_terminated": True,  # FastCGI's STDIN has an end of its own
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
    """Call the application and send what it gives, each piece as it comes."""
    head: list[bytes] = []

    def send(data: bytes) -> None:
        if library.FCGX_PutStr(data, len(data), stream) < 0:
            raise ConnectionAbortedError("the web server is gone")

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], object]:
        del exc_info  # our application never starts twice
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
