"""The application as a WSGI callable (PEP 3333); it blocks in time.sleep for each wait.

`application` does only what the route needs: the request is a view on environ, and nothing is
parsed in advance. A body of bytes is returned as a one-element list, so that a server can send head
and body in one write. A file uses the server's wsgi.file_wrapper if it has one, except for ranges,
because some wrappers send the whole file. A stream is a generator; its first line is sent with the
head.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from servers.app.messages import PIECE, REASONS, File, Input, Response, Steps, Wait
from servers.app.routes import advance, handle

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_STATUS: Final = {status: f"{status} {reason}" for status, reason in REASONS.items()}
_ARCHITECTURE: Final = "chainlab.architecture"


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Answer one request."""
    request = WsgiRequest(environ)
    answer = handle(request)
    if type(answer) is not Response:
        answer = _sleep_through(answer)  # type: ignore[arg-type]  # what is no response is steps
    start_response(_STATUS[answer.status], list(answer.headers))
    body = answer.body
    if request.method == "HEAD":
        answer.close()
        return []
    if type(body) is bytes:
        return [body] if body else []
    if isinstance(body, File):
        wrapper = environ.get("wsgi.file_wrapper") if answer.status == 200 else None
        return _FilePieces(body) if wrapper is None else wrapper(body, PIECE)
    return _pieces(body)  # type: ignore[arg-type]  # bytes have been dealt with


def _sleep_through(steps: Steps) -> Response:
    while not isinstance(step := advance(steps), Response):
        time.sleep(step.seconds)
    return step


def _pieces(body: Iterator[bytes | Wait]) -> Iterator[bytes]:
    for piece in body:
        if isinstance(piece, Wait):
            time.sleep(piece.seconds)
        else:
            yield piece


class _FilePieces:
    """A file's span as a WSGI iterable; unlike a generator, it closes even if never started."""

    def __init__(self, body: File) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body.read, b"")

    def close(self) -> None:
        """Close the file; the server always calls this at the end."""
        self._body.close()


class WsgiRequest:
    """A `Request` that is a view on environ."""

    __slots__ = ("_environ", "method", "number", "path")

    def __init__(self, environ: "WSGIEnvironment") -> None:
        self._environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        # The application is at the root; servers differ in how they split the path.
        self.path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        self.number = 0

    @property
    def query(self) -> str:
        """What follows the question mark."""
        query: str = self._environ.get("QUERY_STRING", "")
        return query

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields, back under their lower-case names."""
        return EnvironHeaders(self._environ)

    @property
    def body(self) -> Input:
        """wsgi.input."""
        stream: Input = self._environ["wsgi.input"]
        return stream

    @property
    def content_length(self) -> int | None:
        """CONTENT_LENGTH; None without one, if the content has an end (wsgi.input_terminated)."""
        length: str = self._environ.get("CONTENT_LENGTH", "")
        if length.isascii() and length.isdigit():
            return int(length)
        return None if self._environ.get("wsgi.input_terminated") else 0

    @property
    def http_version(self) -> str:
        """SERVER_PROTOCOL."""
        version: str = self._environ.get("SERVER_PROTOCOL", "HTTP/1.0")
        return version

    @property
    def client(self) -> str:
        """REMOTE_ADDR."""
        address: str = self._environ.get("REMOTE_ADDR", "")
        return address

    @property
    def architecture(self) -> str:
        """The id that the server or its environment gives, else the server software's name."""
        name: str = (
            self._environ.get(_ARCHITECTURE)
            or os.environ.get("CHAINLAB_ARCHITECTURE")
            or self._environ.get("fcgi_worker.server")
            or self._environ.get("SERVER_SOFTWARE")
            or "unknown"
        )
        return name


class EnvironHeaders(Mapping[str, str]):
    """The header fields in environ, by lower-case name; HTTP_PROXY is never one (httpoxy)."""

    __slots__ = ("_environ",)

    def __init__(self, environ: "WSGIEnvironment") -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        key = name.upper().replace("-", "_")
        if key == "PROXY":
            raise KeyError(name)
        value: str = self._environ[key if key in _UNPREFIXED else "HTTP_" + key]
        if not value and key in _UNPREFIXED:
            raise KeyError(name)  # in CGI, "" means that there is none
        return value

    def __iter__(self) -> Iterator[str]:
        for key in self._environ:
            if key in _UNPREFIXED:
                if self._environ[key]:
                    yield key.lower().replace("_", "-")
            elif key.startswith("HTTP_") and key not in _NOT_FIELDS:
                yield key[5:].lower().replace("_", "-")

    def __len__(self) -> int:
        return sum(1 for _ in self)


_UNPREFIXED: Final = frozenset(("CONTENT_TYPE", "CONTENT_LENGTH"))
_NOT_FIELDS: Final = frozenset(("HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"))
