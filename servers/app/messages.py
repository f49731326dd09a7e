"""What passes between the application and whatever server runs it: requests, responses, waits.

A handler never sleeps and never touches a socket. It returns a `Response`, or it is a generator
that yields `Wait(seconds)` and at last returns one; a response's body may in turn be a generator
of pieces and waits. How a wait is spent (sleep, timer, coroutine switch) is the server's choice
alone, so between two architectures only the I/O model differs, never the work.

Text is as in PEP 3333: `str` whose characters are bytes (latin-1), so that nothing is lost or
guessed on the way.
"""

import os
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

PIECE: Final = 65536
"""Bytes in which long bodies are read and made."""

REASONS: Final[dict[int, str]] = {
    200: "OK",
    206: "Partial Content",
    304: "Not Modified",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    416: "Range Not Satisfiable",
    500: "Internal Server Error",
}
"""Reason phrases of the statuses that the application uses (RFC 9110 section 15)."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on after `seconds`: the server decides how, and what it does meanwhile."""

    seconds: float


class Input(Protocol):
    """A request's content, as a binary file."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; b"" at the end."""


class Request(Protocol):
    """What a handler may ask about a request; WSGI's version looks it up only when asked."""

    number: int
    """Which request of this process it is, from 1; `routes.handle` sets it."""

    @property
    def method(self) -> str:
        """As sent: GET, HEAD, POST, ..."""

    @property
    def path(self) -> str:
        """Percent-decoded, without the query."""

    @property
    def query(self) -> str:
        """What follows the question mark, as sent."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name; repeated fields joined by ", "."""

    @property
    def body(self) -> Input:
        """The content; never read beyond `content_length`."""

    @property
    def content_length(self) -> int | None:
        """Bytes of content, 0 when there is none; None: read to its end to know."""

    @property
    def http_version(self) -> str:
        """HTTP/1.0 or HTTP/1.1, of the client or of a gateway before us."""

    @property
    def client(self) -> str:
        """The peer's IP address; "unix:" for a unix socket."""

    @property
    def architecture(self) -> str:
        """The id of the server that runs us."""


@dataclass(slots=True)
class PlainRequest:
    """A request from a server that has everything at hand: bytes parsed, content received."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Input
    content_length: int | None
    http_version: str
    client: str
    architecture: str
    number: int = 0


class File:
    """A span of an open file as a body; whoever sends it closes it.

    A server with sendfile(2) takes `descriptor`, `offset` and `length`; others call `read`.
    """

    __slots__ = ("_left", "descriptor", "length", "offset")

    def __init__(self, descriptor: int, offset: int, length: int) -> None:
        self.descriptor = descriptor
        self.offset = offset
        self.length = length
        self._left = length
        if offset:
            os.lseek(descriptor, offset, os.SEEK_SET)

    def fileno(self) -> int:
        """Return the descriptor, positioned at the span's begin (for WSGI's file wrappers)."""
        return self.descriptor

    def read(self, size: int = PIECE) -> bytes:
        """Return up to `size` bytes, b"" at the end of the span; OSError when the file shrank."""
        if not self._left:
            return b""
        data = os.read(self.descriptor, min(size, self._left))
        if not data:
            raise OSError(f"the file ended {self._left} bytes short of what was promised")
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Close the file; once is enough."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


Headers = tuple[tuple[str, str], ...]
Body = bytes | File | Iterator[bytes | Wait]


class Response:
    """An answer: `status`, `headers` in order, `body`.

    Content-Length is among the headers whenever the length is known beforehand; else the server
    frames the body as it likes. To HEAD the server sends the headers alone and calls `close`.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: Body) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def close(self) -> None:
        """Free a body that is not sent, or not to its end."""
        if isinstance(self.body, File | Generator):
            self.body.close()


Steps = Generator[Wait, None, Response]
"""What a handler that waits returns: `routes.advance` takes the next step."""


def text(status: int, line: str, *more: tuple[str, str]) -> Response:
    """Return a response of one text line, the newline not yet in it."""
    body = line.encode("latin-1") + b"\n"
    length = ("Content-Length", str(len(body)))
    return Response(status, (("Content-Type", "text/plain"), length, *more), body)


class Refused(Exception):
    """The request cannot be served; `response` says why and what would help."""

    def __init__(self, status: int, line: str, *more: tuple[str, str]) -> None:
        super().__init__(line)
        self.response = text(status, line, *more)
