"""A real gateway, raw clients for it, and back ends whose behaviour is a script.

The scripts are for what no real peer can be made to show on demand: dying in mid-response,
nonsense, silence. Each accepted connection runs the script in a thread of its own.
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

PATIENCE = 20.0  # seconds a test's socket waits


class Gateway:
    """A running gateway."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.address = process.wait_until_listening()

    def connect(self) -> "RawClient":
        """Return a new connection to it."""
        return RawClient(self.address)

    def get(self, path: str, **fields: str) -> tuple[int, bytes]:
        """Return status and body of a GET on a connection of its own."""
        with self.connect() as client:
            client.request("GET", path, b"", **fields)
            head, body = client.response()
            return head.status, body


@contextlib.contextmanager
def running_gateway(*options: str, cwd: Path | None = None) -> Iterator[Gateway]:
    """Run a gateway with the options given; it listens on a port that the kernel chose."""
    if "--config" not in options:
        options = ("--listen", "127.0.0.1:0", *options)
        if "--access-log" not in options:
            options = (*options, "--access-log", "off")
    with Process([sys.executable, "-m", "gateway", *options], cwd=cwd) as process:
        yield Gateway(process)


class RawClient:
    """One connection to a server, spoken to in bytes."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.socket(address.family)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address.sockaddr)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def request(self, method: str, path: str, body: bytes = b"", **fields: str) -> None:
        """Send a request; in a field's name an underscore stands for the hyphen."""
        lines = [f"{method} {path} HTTP/1.1", "Host: test"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def response(self, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
        """Read a response to its end; http.client.IncompleteRead when it is cut off."""
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
        """Read as far as `wanted`; AssertionError when the server closes before."""
        gathered = b""
        while wanted not in gathered:
            data = self.socket.recv(65536)
            assert data, f"closed after {gathered!r}"
            gathered += data
        return gathered

    def read_to_end(self) -> bytes:
        """Read until the server closes; ConnectionResetError when it resets."""
        gathered = b""
        while data := self.socket.recv(65536):
            gathered += data
        return gathered

    @property
    def closed_by_peer(self) -> bool:
        """Whether the server closes without another byte; waits for it."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Close."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Script = Callable[[socket.socket], None]


class Scripted:
    """A listener whose every connection runs `script(socket)` in a thread, until the block ends."""

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
        """Return the next event, answering GET_VALUES on the way; None at the end."""
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
        """Return the next request, its content read to the end; None at the end."""
        event = self.event()
        if not isinstance(event, Request):
            return None
        while not isinstance(self.event(), EndOfStdin | Abort | None):
            pass
        return event

    def answer(self, content: bytes) -> None:
        """Send a whole answer: CGI head and content."""
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
    """Return a scripted FastCGI back end on a unix socket; `values` is what GET_VALUES says."""
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
