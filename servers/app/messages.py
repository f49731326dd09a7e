"""The interface between the application and its server: requests, responses, waits.

A handler never sleeps and never touches a socket. It returns a `Response`, or it is a generator
that yields `Wait(seconds)` and finally returns a `Response`, whose body may also be a generator of
pieces and waits. The server decides how to wait (sleep, timer, coroutine switch), so architectures
differ only in their I/O model, never in the work.

Text is as in PEP 3333: a `str` whose characters stand for bytes (latin-1), so decoding loses
nothing.
"""

import os
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

PIECE: Final = 65536
"""Size in bytes of the pieces in which long bodies are read and produced."""

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
    """Continue after `seconds`: the server decides how to wait and what to do in the meantime."""

    seconds: float


class Input(Protocol):
    """A request's content, as a binary file."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; b"" at the end."""


class Request(Protocol):
    """What a handler can read of a request; the WSGI version looks values up on demand."""

    number: int
    """The number of this request in its process, from 1; `routes.handle` sets it."""

    @property
    def method(self) -> str:
        """As sent: GET, HEAD, POST, ..."""

    @property
    def path(self) -> str:
        """Percent-decoded, without the query."""

    @property
    def query(self) -> str:
        """The text after the question mark, as sent."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields by lower-case name; repeated fields are joined by ", "."""

    @property
    def body(self) -> Input:
        """The content; never read beyond `content_length`."""

    @property
    def content_length(self) -> int | None:
        """Bytes of content, 0 if there is none; None: unknown until read to the end."""

    @property
    def http_version(self) -> str:
        """HTTP/1.0 or HTTP/1.1, from the client or from a gateway in front of us."""

    @property
    def client(self) -> str:
        """The peer's IP address; "unix:" for a unix socket."""

    @property
    def architecture(self) -> str:
        """The id of the server that runs us."""


@dataclass(slots=True)
class PlainRequest:
    """A request from a server that has parsed it and received all its content."""

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
    """A span of an open file as a body; the server that sends it closes it.

    A server with sendfile(2) uses `descriptor`, `offset` and `length`; others call `read`.
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
        """Close the file; further calls do nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


Headers = tuple[tuple[str, str], ...]
Body = bytes | File | Iterator[bytes | Wait]


class Response:
    """An answer: `status`, `headers` in order, `body`.

    The headers include Content-Length if the length is known in advance; otherwise the server
    chooses the framing. For HEAD the server sends only the headers and calls `close`.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: Body) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def close(self) -> None:
        """Free a body that was not, or not completely, sent."""
        if isinstance(self.body, File | Generator):
            self.body.close()


Steps = Generator[Wait, None, Response]
"""What a handler that waits returns: `routes.advance` takes the next step."""


def text(status: int, line: str, *more: tuple[str, str]) -> Response:
    """Return a response with one line of text; the newline is added."""
    body = line.encode("latin-1") + b"\n"
    length = ("Content-Length", str(len(body)))
    return Response(status, (("Content-Type", "text/plain"), length, *more), body)


class Refused(Exception):
    """The request cannot be served; `response` says why and what to do."""

    def __init__(self, status: int, line: str, *more: tuple[str, str]) -> None:
        super().__init__(line)
        self.response = text(status, line, *more)
