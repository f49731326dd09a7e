"""A blocking FastCGI client: `chainlab.wire.fastcgi.ClientConnection` on a real socket.

It does what tests need and a web server would not: leaves a request half sent, reads a truncated
answer to its end, sends bytes that are not FastCGI records.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from chainlab.transport import Address
from chainlab.wire.fastcgi import (
    NEED_DATA,
    ClientConnection,
    EndRequest,
    ProtocolError,
    Stderr,
    Stdout,
    Values,
    encode_pairs,
)
from tests.support.processes import PATIENCE

_READ_SIZE: Final = 65536


@dataclass
class Answer:
    """One parsed answer: CGI head, body, STDERR, how it ended."""

    stdout: bytes = b""
    stderr: bytes = b""
    end: EndRequest | None = None  # None: truncated, closed without END_REQUEST
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def status(self) -> int:
        """The HTTP status; 200 if the head has none (RFC 3875 section 6.3.3)."""
        return int(self.headers.get("status", "200")[:3])

    def take_apart(self) -> Self:
        """Split `stdout` into head and body."""
        head, _, self.body = self.stdout.partition(b"\r\n\r\n")
        for line in head.decode("latin-1").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                self.headers[name.lower()] = value.strip()
        return self


def make_params(path: str = "/", method: str = "GET", **more: str) -> dict[str, str]:
    """Return the CGI variables that a web server sends for a request."""
    path, _, query = path.partition("?")
    return {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": method,
        "REQUEST_URI": path + ("?" + query if query else ""),
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "tests",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        **more,
    }


def encode_params(params: Mapping[str, str]) -> bytes:
    """Return the parameters as name-value pairs."""
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in params.items()]
    return encode_pairs(pairs)


class Client:
    """One connection to a worker."""

    def __init__(self, address: Address, seconds: float = PATIENCE) -> None:
        self.protocol = ClientConnection()
        self.socket = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            self.socket.settimeout(seconds)
            self.socket.connect(address.sockaddr)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, even during a request."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send raw bytes, valid records or not."""
        self.socket.sendall(data)

    def start(
        self,
        path: str = "/",
        method: str = "GET",
        body: bytes | None = b"",
        keep_conn: bool = True,
        **more: str,
    ) -> None:
        """Send a request without waiting for the answer; `body` None leaves STDIN open."""
        if body and "CONTENT_LENGTH" not in more:
            more["CONTENT_LENGTH"] = str(len(body))
        params = encode_params(make_params(path, method, **more))
        self.send(self.protocol.begin(params, keep_conn=keep_conn, body=body))

    def read_event(self) -> Stdout | Stderr | EndRequest | Values | None:
        """Return the next event; None if the worker closed the connection."""
        while (event := self.protocol.next_event()) is NEED_DATA:
            try:
                data = self.socket.recv(_READ_SIZE)
            except ConnectionResetError:
                return None
            if not data:
                try:
                    self.protocol.receive_eof()
                except ProtocolError:
                    pass  # truncated: the caller sees that END_REQUEST is missing
                return None
            self.protocol.receive_data(data)
        assert not isinstance(event, type(NEED_DATA))
        return event

    def finish(self) -> Answer:
        """Read an answer to its end, complete or truncated."""
        answer = Answer()
        out, errors = bytearray(), bytearray()
        while (event := self.read_event()) is not None:
            if isinstance(event, Stdout):
                out += event.data
            elif isinstance(event, Stderr):
                errors += event.data
            elif isinstance(event, EndRequest):
                answer.end = event
                break
        answer.stdout, answer.stderr = bytes(out), bytes(errors)
        return answer.take_apart()

    def request(
        self,
        path: str = "/",
        method: str = "GET",
        body: bytes = b"",
        keep_conn: bool = True,
        **more: str,
    ) -> Answer:
        """Send a request and read its answer."""
        self.start(path, method, body, keep_conn, **more)
        return self.finish()

    def request_raw(self, params: Mapping[str, str]) -> Answer:
        """Send a request with these parameters alone and read its answer."""
        self.send(self.protocol.begin(encode_params(params), keep_conn=True, body=b""))
        return self.finish()

    def read_until_stdout(self, wanted: bytes) -> bytes:
        """Read the answer until it contains `wanted`; AssertionError if it ends before."""
        gathered = b""
        while wanted not in gathered:
            event = self.read_event()
            assert isinstance(event, Stdout), f"{event} instead of {wanted!r} after {gathered!r}"
            gathered += event.data
        return gathered

    def ask_values(self) -> dict[str, str]:
        """Send GET_VALUES and return the answer."""
        self.send(self.protocol.get_values())
        event = self.read_event()
        assert isinstance(event, Values)
        return event.values

    @property
    def closed_by_peer(self) -> bool:
        """Whether the worker closes without sending another byte; blocks until one happens."""
        return self.read_event() is None
