"""The application: a table from path to handler, and the handlers; independent of any server.

    answer = handle(request)                 a response, or steps towards one
    while not isinstance(answer, Response):
        step = advance(answer)               a Wait: wait in any way, then advance again
        ...

A handler may raise `Refused` (400, 404, 413) or fail (500; the traceback goes only to the log
`servers.app`). Both become responses here, for every architecture. CONTRACT.md specifies the
answers byte for byte; when you change one, change CONTRACT.md, the checks and the other languages.
"""

import hashlib
import itertools
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from servers.app.files import PREFIX, serve_file
from servers.app.messages import (
    PIECE,
    REASONS,
    Body,
    File,
    Headers,
    Input,
    PlainRequest,
    Refused,
    Request,
    Response,
    Steps,
    Wait,
    text,
)

__all__ = [
    "BODY_LIMIT",
    "REASONS",
    "ROUTES",
    "Body",
    "File",
    "Headers",
    "Input",
    "PlainRequest",
    "Refused",
    "Request",
    "Response",
    "Route",
    "Steps",
    "Wait",
    "advance",
    "handle",
]

log = logging.getLogger("servers.app")

MIB: Final = 1 << 20
BODY_LIMIT: int = int(os.environ.get("CHAINLAB_BODY_LIMIT") or 64 * MIB)
"""Maximum bytes of request content for /echo; CHAINLAB_BODY_LIMIT overrides it."""

_PATTERN: Final = bytes(range(256)) * (PIECE // 256)
_NOT_FOUND: Final = text(404, "no such path: the routes are in servers/app/CONTRACT.md")
_FAILED: Final = text(500, "the application failed: its log says why")
_served: Final = itertools.count(1)

Handler = Callable[[Request], Response | Steps]


class Route(NamedTuple):
    """A path's handler and its methods."""

    handler: Handler
    methods: frozenset[str]
    not_allowed: Response


def _route(handler: Handler, *methods: str) -> Route:
    allow = ", ".join(methods)
    return Route(
        handler, frozenset(methods), text(405, f"this path takes {allow} only", ("Allow", allow))
    )


def handle(request: Request) -> Response | Steps:
    """Return the response, or steps for `advance` that lead to it.

    Raises only what reading the content raises if the peer disconnected (ConnectionError; some
    servers raise EOFError), because no answer could reach it.
    """
    request.number = next(_served)
    path = request.path
    route = ROUTES.get(path)
    if route is None:
        if not path.startswith(PREFIX) or path == PREFIX:
            return _NOT_FOUND
        route = FILE
    if request.method not in route.methods:
        return route.not_allowed
    try:
        return route.handler(request)
    except Refused as refusal:
        return refusal.response
    except (ConnectionError, EOFError):
        raise
    except Exception:
        log.exception("the application failed on %s %r", request.method, path)
        return _FAILED


def advance(steps: Steps) -> Wait | Response:
    """Take the next step of a handler that waits; an exception becomes a 500 here too."""
    try:
        return next(steps)
    except StopIteration as end:
        response: Response = end.value
        return response
    except Refused as refusal:
        return refusal.response
    except Exception:
        log.exception("the application failed")
        return _FAILED


# Parameters


def _values(query: str, name: str) -> list[str]:
    found = []
    for field in query.split("&"):
        key, _, value = field.partition("=")
        if unquote_plus(key, "latin-1") == name:
            found.append(unquote_plus(value, "latin-1"))
    return found


def whole_number(request: Request, name: str, least: int, most: int) -> int:
    """Return a parameter of the query; Refused(400) says what is wrong and what is allowed."""
    remedy = f"give a whole number from {least} to {most}"
    values = _values(request.query, name)
    if not values:
        raise Refused(400, f"{name} is missing: {remedy}")
    if len(values) > 1:
        raise Refused(400, f"{name} is given more than once: {remedy}, once")
    digits = values[0]
    if not (digits.isascii() and digits.isdigit()):
        raise Refused(400, f"{name} is not a number: {remedy}")
    digits = digits.lstrip("0") or "0"
    if len(digits) > 9 or not least <= int(digits) <= most:
        raise Refused(400, f"{name} is out of range: {remedy}")
    return int(digits)


# Handlers

_HELLO: Final = text(200, "Hello, world!")


def hello(_request: Request) -> Response:
    """Return 14 bytes: measures the path to the handler and back."""
    return _HELLO


def greet_json(_request: Request) -> Response:
    """Return the same as JSON, serialised for each request."""
    return _json({"message": "Hello, world!"})


def _json(value: object) -> Response:
    body = json.dumps(value, separators=(",", ":")).encode()
    length = ("Content-Length", str(len(body)))
    return Response(200, (("Content-Type", "application/json"), length), body)


def wait(request: Request) -> Steps:
    """Wait `ms` milliseconds: models a request that waits for I/O."""
    milliseconds = whole_number(request, "ms", 0, 60000)
    yield Wait(milliseconds / 1000)
    return text(200, f"waited {milliseconds} ms")


def burn_cpu(request: Request) -> Response:
    """Hash `n` times: models a CPU-bound request, which blocks its worker."""
    rounds = whole_number(request, "n", 1, 1_000_000)
    digest = b""
    sha256 = hashlib.sha256
    for _ in range(rounds):
        digest = sha256(digest).digest()
    return text(200, digest.hex())


def send_bytes(request: Request) -> Response:
    """Return `n` bytes of the repeating pattern 0..255."""
    count = whole_number(request, "n", 0, 64 * MIB)
    headers = (("Content-Type", "application/octet-stream"), ("Content-Length", str(count)))
    if count <= PIECE:
        return Response(200, headers, _PATTERN[:count])
    return Response(200, headers, _pattern(count))


def _pattern(count: int) -> Iterator[bytes]:
    for _ in range(count // PIECE):
        yield _PATTERN
    if count % PIECE:
        yield _PATTERN[: count % PIECE]


def echo(request: Request) -> Response:
    """Return the received content; reads all of it first, or both sides could block in write."""
    pieces, length = _read(request)
    kind = request.headers.get("content-type") or "application/octet-stream"
    headers = (("Content-Type", kind), ("Content-Length", str(length)))
    if len(pieces) <= 1:
        return Response(200, headers, pieces[0] if pieces else b"")
    return Response(200, headers, iter(pieces))


def _read(request: Request) -> tuple[list[bytes], int]:
    length = request.content_length
    limit = BODY_LIMIT if length is None else length
    if limit > BODY_LIMIT:
        raise _too_large()
    pieces: list[bytes] = []
    total = 0
    while length is None or total < length:
        piece = request.body.read(PIECE if length is None else min(PIECE, length - total))
        if not piece:
            break
        pieces.append(piece)
        total += len(piece)
        if total > limit:
            raise _too_large()
    if length is not None and total < length:
        raise Refused(400, f"the content ended early: send all {length} bytes of it")
    return pieces, total


def _too_large() -> Refused:
    return Refused(413, f"the content is too large: send at most {BODY_LIMIT} bytes")


def stream(request: Request) -> Response:
    """Return `n` lines, one every `ms` milliseconds, each sent at once."""
    count = whole_number(request, "n", 0, 100_000)
    milliseconds = whole_number(request, "ms", 0, 60000)
    # The second field tells nginx to pass each piece on at once; by default it buffers answers.
    headers = (("Content-Type", "text/plain"), ("X-Accel-Buffering", "no"))
    return Response(200, headers, _lines(count, Wait(milliseconds / 1000)))


def _lines(count: int, pause: Wait) -> Iterator[bytes | Wait]:
    for number in range(1, count + 1):
        if number > 1:
            yield pause
        yield b"line %d\n" % number


def whoami(request: Request) -> Response:
    """Return the process, thread and architecture that answer, and the request as received."""
    return _json(
        {
            "architecture": request.architecture,
            "pid": os.getpid(),
            "thread": threading.get_native_id(),
            "requests": request.number,
            "http_version": request.http_version,
            "client": request.client,
            "headers": dict(sorted(request.headers.items())),
        }
    )


ROUTES: Final[dict[str, Route]] = {
    "/hello": _route(hello, "GET", "HEAD"),
    "/json": _route(greet_json, "GET", "HEAD"),
    "/wait": _route(wait, "GET", "HEAD"),
    "/cpu": _route(burn_cpu, "GET", "HEAD"),
    "/bytes": _route(send_bytes, "GET", "HEAD"),
    "/echo": _route(echo, "POST"),
    "/stream": _route(stream, "GET", "HEAD"),
    "/whoami": _route(whoami, "GET", "HEAD"),
}
"""All paths except /file/NAME, which is `FILE`."""

FILE: Final = _route(serve_file, "GET", "HEAD")
