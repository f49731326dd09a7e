"""Requests for the application without any server."""

import io
from collections.abc import Mapping

from servers.app.messages import File, PlainRequest, Response, Wait
from servers.app.routes import advance, handle


def make_request(
    target: str = "/hello",
    method: str = "GET",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    chunked: bool = False,
) -> PlainRequest:
    path, _, query = target.partition("?")
    length = None if chunked else len(body)
    stream = io.BytesIO(body)
    return PlainRequest(
        method, path, query, headers or {}, stream, length, "HTTP/1.1", "192.0.2.1", "tests"
    )


def ask(request: PlainRequest) -> tuple[Response, list[float]]:
    """Return the response and how long each wait before it would have been."""
    waits: list[float] = []
    answer = handle(request)
    while not isinstance(answer, Response):
        step = advance(answer)
        if isinstance(step, Response):
            return step, waits
        waits.append(step.seconds)
    return answer, waits


def content(response: Response) -> bytes:
    """Return a body whole, its waits skipped; a file is closed."""
    body = response.body
    if isinstance(body, bytes):
        return body
    if isinstance(body, File):
        try:
            return b"".join(iter(body.read, b""))
        finally:
            body.close()
    return b"".join(piece for piece in body if not isinstance(piece, Wait))


def get(target: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask with header fields (an underscore is a hyphen): status, headers, body."""
    fields = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    response, _ = ask(make_request(target, method, headers=fields))
    return response.status, dict(response.headers), content(response)
