"""wsgiref.simple_server over HTTP: one thread and one request per connection (S5).

The standard library's reference server, changed only where the contract requires it: request
content is bounded by its length (wsgiref lets an application read past the end) and may be chunked;
HEAD and 304 get no invented Content-Length; the head and the first piece leave in one write; a
client whose content was refused can read the reason before the connection is reset. Responses are
HTTP/1.0 and close the connection, so every request costs a handshake and a thread.
"""

import io
import logging
import select
import socket
import sys
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from servers.app.wsgi import application
from servers.common.session import PATIENCE
from servers.common.spec import Options
from servers.common.stopping import GRACE, Running, Waker
from servers.third_party.http_body import ChunkedBody, LengthBody

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import WSGIEnvironment
from servers.common.spec import Spec

SPEC: Final = Spec(
    name="wsgiref",
    title="wsgiref, one thread per connection",
    family="third-party",
    processes="one",
    threads="one per connection",
    keep_alive=False,
    model=(
        "The standard library's reference server: one thread per connection,",
        "one request per thread, then the connection is closed (HTTP/1.0).",
    ),
    sleeps=("in recv(2)", "in recv(2)"),
    good="trying out an application locally",
    bad="load: every request costs a handshake and a thread",
    neighbours=("thread", "gunicorn"),
    source="servers/third_party/wsgiref_http.py",
    limits=(
        "HTTP/1.0: closes the connection after each response",
        "unbounded number of threads",
        "only one thread runs Python code at a time (GIL)",
    ),
    claims=("S5",),
    target="servers.third_party.wsgiref_http:WsgirefHttp",
)


log = logging.getLogger("servers.wsgiref")

_LINGER: Final = 1.0  # seconds to keep reading content that the application did not read
_LINGER_BYTES: Final = 128 << 20


class WsgirefHttp:
    """`wsgiref.simple_server` with threads."""

    def __init__(self, listener: socket.socket, _options: Options) -> None:
        self._listener = listener
        self._waker = Waker()

    def run(self) -> None:
        """Accept until stopped."""
        self._waker.wake_on_signals()
        server = _Server(self._listener)
        watched: list[Any] = [self._waker, self._listener]
        while not self._waker.woken:
            if self._listener in select.select(watched, [], [])[0]:
                self._accept(server)
        server.running.wait_until_none(GRACE)

    def _accept(self, server: "_Server") -> None:
        try:
            server.process_request(*server.get_request())
        except BlockingIOError:
            return
        except (OSError, RuntimeError) as error:  # no descriptor or thread left: do not spin
            log.error("cannot accept: %s", error)
            self._waker.wait(0.05)

    def stop(self) -> None:
        """Wake the accept loop; running requests may finish, for GRACE seconds at most."""
        self._waker.wake()

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()
        self._waker.close()


class _Server(ThreadingMixIn, WSGIServer):
    """wsgiref's server on a listener that is already bound."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket) -> None:
        name = listener.getsockname()
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name = "localhost" if isinstance(name, str) else name[0]
        self.server_port = 80 if isinstance(name, str) else name[1]
        self.setup_environ()
        self.set_app(application)
        self.running = Running()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, counted as a running request."""
        with self.running:
            super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log bugs only, not clients that disconnect or time out."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    """One connection, one request."""

    timeout = PATIENCE
    wbufsize = 65536
    server: _Server

    def setup(self) -> None:
        """Name the peer of a unix socket, which has no address."""
        super().setup()
        if self.connection.family == socket.AF_UNIX:
            self.client_address = ("unix:", 0)

    def address_string(self) -> str:
        """Return the peer's address, without a DNS look-up."""
        return str(self.client_address[0])

    def log_message(self, *_arguments: object) -> None:
        """Do nothing: there is no access log."""

    def handle(self) -> None:
        """Read one request and answer it."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            return
        body = self._find_body()
        if body is None:
            return
        stream = io.BufferedReader(body, 65536)
        out = cast(BinaryIO, self.wfile)
        handler = _ServerHandler(stream, out, sys.stderr, self.get_environ(), multiprocess=False)
        handler.request_handler = self
        handler.run(self.server.get_app())  # type: ignore[arg-type]  # it is set
        if not body.ended:
            self._linger()

    def _find_body(self) -> LengthBody | ChunkedBody | None:
        """Return the content by its framing; None if the framing was refused as invalid."""
        codings = self.headers.get_all("transfer-encoding", [])
        lengths = {length.strip() for length in self.headers.get_all("content-length", [])}
        if (codings and lengths) or len(lengths) > 1:
            self.send_error(400, "Ambiguous content length")
            return None
        if codings:
            if [coding.strip().lower() for coding in codings] == ["chunked"]:
                return ChunkedBody(self.rfile)
            self.send_error(501, "Unknown transfer coding")
            return None
        length = lengths.pop() if lengths else "0"
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            self.send_error(400, "Malformed content length")
            return None
        return LengthBody(self.rfile, int(length))

    def get_environ(self) -> "WSGIEnvironment":
        """Return wsgiref's environ without what the client did not send."""
        environ: WSGIEnvironment = super().get_environ()
        if self.headers.get("content-type") is None:
            del environ["CONTENT_TYPE"]
        for name in set(self.headers.keys()):
            values = self.headers.get_all(name, [])
            key = "HTTP_" + name.upper().replace("-", "_")
            if "_" in name:  # X_Y and X-Y would collide
                environ.pop(key, None)
            elif key in environ:
                environ[key] = ", ".join(value.strip() for value in values)
        if "transfer-encoding" in self.headers:
            environ.pop("HTTP_TRANSFER_ENCODING", None)
            environ["wsgi.input_terminated"] = True
        return environ

    def _linger(self) -> None:
        """Read what still comes, or closing would reset and destroy the answer (RFC 9112 9.6)."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_LINGER)
        left = _LINGER_BYTES
        while left > 0 and (data := self.connection.recv(65536)):
            left -= len(data)


class _ServerHandler(ServerHandler):
    """One call of the application."""

    os_environ: dict[str, str] = {}  # noqa: RUF012 - a field of wsgiref; never written
    request_handler: WSGIRequestHandler
    environ: "WSGIEnvironment"
    status: str
    headers_sent: bool

    def finish_content(self) -> None:
        """Send the head of an answer without content; wsgiref would claim a length of 0."""
        bare = self.environ["REQUEST_METHOD"] == "HEAD" or self.status[:3] in ("204", "304")
        if bare and not self.headers_sent:
            self.send_headers()
        else:
            super().finish_content()
