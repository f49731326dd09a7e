"""A real gateway, raw clients for it, and scripted back ends.

Scripts do what no real peer does on demand: die in mid-response, send nonsense, stay silent. Each
accepted connection runs the script in its own thread.
"""

import contextlib
import http.client
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from chainlab.transport import Address
from chainlab.wire.fastcgi import (
    NEED_DATA,
    Abort,
    EndOfStdin,
    ProtocolError,
    Request,
    ServerConnection,
    Stdin,
)
from tests.support.processes import Process

PATIENCE = 20.0  # seconds: timeout of the tests' sockets


class Gateway:
    """A running gateway."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.address = process.wait_until_listening()

    def connect(self) -> "RawClient":
        """Return a new connection to it."""
        return RawClient(self.address)

    def get(self, path: str, **fields: str) -> tuple[int, bytes]:
        """Send a GET on a new connection; return status and body."""
        with self.connect() as client:
            client.request("GET", path, b"", **fields)
            head, body = client.response()
            return head.status, body


@contextlib.contextmanager
def running_gateway(*options: str, cwd: Path | None = None) -> Iterator[Gateway]:
    """Run a gateway; unless `options` say otherwise, on a free port and without an access log."""
    if "--config" not in options:
        options = ("--listen", "127.0.0.1:0", *options)
        if "--access-log" not in options:
            options = (*options, "--access-log", "off")
    with Process([sys.executable, "-m", "gateway", *options], cwd=cwd) as process:
        yield Gateway(process)


class RawClient:
    """One connection to a server, for sending raw bytes."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.socket(address.family)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address.sockaddr)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def request(self, method: str, path: str, body: bytes = b"", **fields: str) -> None:
        """Send a request; an underscore in a field name becomes a hyphen."""
        lines = [f"{method} {path} HTTP/1.1", "Host: test"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def response(self, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
        """Read a response to its end; http.client.IncompleteRead if it is truncated."""
        head = http.client.HTTPResponse(self.socket, method=method)
        head.begin()
        body = head.read()
        head.close()
        return head, body

    def ask(
        self, method: str, path: str, body: bytes = b"", **fields: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a request and read its response."""
        self.request(method, path, body, **fields)
        return self.response(method)

    def read_until(self, wanted: bytes) -> bytes:
        """Read until `wanted` has come; AssertionError if the server closes before."""
        gathered = b""
        while wanted not in gathered:
            data = self.socket.recv(65536)
            assert data, f"closed after {gathered!r}"
            gathered += data
        return gathered

    def read_to_end(self, reset: bool = False) -> bytes:
        """Read until the server closes; ConnectionResetError if it resets, unless it may: `reset`.

        Linux delivers what came before a reset first.
        """
        gathered = b""
        try:
            while data := self.socket.recv(65536):
                gathered += data
        except ConnectionResetError:
            if not reset:
                raise
        return gathered

    @property
    def closed_by_peer(self) -> bool:
        """Whether the server closes without sending another byte; blocks until one happens."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Script = Callable[[socket.socket], None]


class Scripted:
    """A server that runs `script(socket)` in a thread for each connection, until the block ends."""

    def __init__(self, address: Address, script: Script) -> None:
        self._listener = socket.socket(address.family)
        self._listener.bind(address.sockaddr)
        self._listener.listen(128)
        name = self._listener.getsockname()
        self.address = address if address.path else Address(*name[:2])
        self._script = script
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self.accepted = 0

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            connection.settimeout(PATIENCE)
            self._sockets.append(connection)
            thread = threading.Thread(target=self._run, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self._script(connection)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
        for thread in (self._acceptor, *self._threads):
            thread.join(PATIENCE)


class FastCGIPeer:
    """The application's end of one scripted FastCGI connection."""

    def __init__(self, connection: socket.socket, values: dict[str, str]) -> None:
        self.socket = connection
        self.protocol = ServerConnection(values)

    def event(self) -> Request | Stdin | EndOfStdin | Abort | None:
        """Return the next event, or None at the end; answers GET_VALUES in between."""
        while True:
            try:
                event = self.protocol.next_event()
            except ProtocolError:
                return None
            if answers := self.protocol.bytes_to_send():
                self.socket.sendall(answers)
            if isinstance(event, Request | Stdin | EndOfStdin | Abort):
                return event
            assert event is NEED_DATA
            data = self.socket.recv(65536)
            if not data:
                return None
            self.protocol.receive_data(data)

    def request(self) -> Request | None:
        """Return the next request after reading its content, or None at the end."""
        event = self.event()
        if not isinstance(event, Request):
            return None
        while not isinstance(self.event(), EndOfStdin | Abort | None):
            pass
        return event

    def answer(self, content: bytes) -> None:
        """Send a complete answer: CGI head and content."""
        self.socket.sendall(self.protocol.send_answer(content))

    def stdout(self, content: bytes) -> None:
        """Send a piece of an answer."""
        self.socket.sendall(self.protocol.send_stdout(content))

    def end(self) -> None:
        """End the request."""
        self.socket.sendall(self.protocol.end_request())


def fastcgi(
    folder: Path,
    script: Callable[[FastCGIPeer], None],
    name: str = "app.sock",
    **values: str,
) -> Scripted:
    """Return a scripted FastCGI back end on a unix socket; it answers GET_VALUES with `values`."""
    return Scripted(
        Address(path=str(folder / name)),
        lambda connection: script(FastCGIPeer(connection, values)),
    )


def serve_always(content: bytes) -> Callable[[FastCGIPeer], None]:
    """Return a script that answers every request with the same CGI answer."""

    def script(peer: FastCGIPeer) -> None:
        while peer.request() is not None:
            peer.answer(content)

    return script
