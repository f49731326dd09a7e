"""The application without a server: each handler, each way to be refused, failure."""

import hashlib
import json
import logging
import os
import threading

import pytest

from servers.app import routes
from servers.app.messages import REASONS, Refused, Request, Response, Steps, Wait
from servers.app.routes import BODY_LIMIT, ROUTES, Route, advance, handle
from tests.servers.support import ask, content, get, make_request


def fail(_request: Request) -> Response:
    raise ZeroDivisionError("a bug")


def wait_and_fail(_request: Request) -> Steps:
    yield Wait(0.5)
    raise ZeroDivisionError("a late bug")


def wait_and_refuse(_request: Request) -> Steps:
    yield Wait(0.5)
    raise Refused(400, "too late")


@pytest.fixture
def bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = ROUTES["/hello"].not_allowed
    for path, handler in (("/f", fail), ("/wf", wait_and_fail), ("/wr", wait_and_refuse)):
        route = Route(handler, frozenset(("GET",)), nothing)
        monkeypatch.setitem(ROUTES, path, route)


def test_hello() -> None:
    status, headers, body = get("/hello")
    assert (status, body) == (200, b"Hello, world!\n")
    assert headers == {"Content-Type": "text/plain", "Content-Length": "14"}


def test_json() -> None:
    status, headers, body = get("/json?ignored=1")
    assert (status, body) == (200, b'{"message":"Hello, world!"}')
    assert headers == {"Content-Type": "application/json", "Content-Length": "27"}


def test_wait_waits_without_sleeping() -> None:
    response, waits = ask(make_request("/wait?ms=60000"))
    assert waits == [60.0]
    assert response.body == b"waited 60000 ms\n"


def test_cpu() -> None:
    assert get("/cpu?n=1")[2].decode() == hashlib.sha256(b"").hexdigest() + "\n"
    twice = hashlib.sha256(hashlib.sha256(b"").digest()).hexdigest()
    assert get("/cpu?n=2")[2].decode() == twice + "\n"


@pytest.mark.parametrize("count", [0, 1, 256, 65535, 65536, 65537, 131072, 200_001])
def test_bytes(count: int) -> None:
    status, headers, body = get(f"/bytes?n={count}")
    assert status == 200
    assert headers["Content-Length"] == str(count)
    assert body == (bytes(range(256)) * (count // 256 + 1))[:count]


def test_many_bytes_are_made_piece_by_piece() -> None:
    response, _ = ask(make_request("/bytes?n=67108864"))
    assert not isinstance(response.body, bytes)
    assert sum(len(piece) for piece in response.body) == 64 << 20  # type: ignore[arg-type, union-attr, misc]


def test_stream_pauses_between_lines_only() -> None:
    response, _ = ask(make_request("/stream?n=3&ms=20"))
    assert "Content-Length" not in dict(response.headers)
    assert ("X-Accel-Buffering", "no") in response.headers
    pause = Wait(0.02)
    assert list(response.body) == [b"line 1\n", pause, b"line 2\n", pause, b"line 3\n"]  # type: ignore[arg-type]


def test_stream_of_nothing() -> None:
    assert get("/stream?n=0&ms=0")[2] == b""


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 300_000])
def test_echo(size: int, chunked: bool) -> None:
    body = os.urandom(size)
    request = make_request("/echo", "POST", body, {"content-type": "x/y"}, chunked=chunked)
    response, _ = ask(request)
    assert response.status == 200
    assert dict(response.headers) == {"Content-Type": "x/y", "Content-Length": str(size)}
    assert content(response) == body


def test_echo_reads_no_further_than_the_length() -> None:
    request = make_request("/echo", "POST", b"content and the next request")
    request.content_length = 7
    assert content(ask(request)[0]) == b"content"
    assert request.body.read(100) == b" and the next request"


def test_echo_of_less_than_was_declared() -> None:
    request = make_request("/echo", "POST", b"short")
    request.content_length = 10
    response, _ = ask(request)
    assert response.status == 400
    assert response.body == b"the content ended early: send all 10 bytes of it\n"


def test_echo_without_a_type() -> None:
    response, _ = ask(make_request("/echo", "POST", b"x"))
    assert ("Content-Type", "application/octet-stream") in response.headers


def test_content_too_large_is_not_even_read() -> None:
    request = make_request("/echo", "POST", b"x")
    request.content_length = BODY_LIMIT + 1
    response, _ = ask(request)
    assert response.status == 413
    assert response.body == b"the content is too large: send at most 67108864 bytes\n"
    assert request.body.read(1) == b"x"


def test_chunks_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BODY_LIMIT", 100_000)
    response, _ = ask(make_request("/echo", "POST", bytes(100_000), chunked=True))
    assert response.status == 200
    response, _ = ask(make_request("/echo", "POST", bytes(100_001), chunked=True))
    assert response.status == 413


def test_whoami() -> None:
    status, _, body = get("/whoami", X_B="2", X_A="1")
    who = json.loads(body)
    requests = who.pop("requests")
    assert status == 200
    assert b" " not in body
    assert who == {
        "architecture": "tests",
        "pid": os.getpid(),
        "thread": threading.get_native_id(),
        "http_version": "HTTP/1.1",
        "client": "192.0.2.1",
        "headers": {"x-a": "1", "x-b": "2"},
    }
    get("/nothing")
    assert json.loads(get("/whoami")[2])["requests"] == requests + 2


@pytest.mark.parametrize("path", ["/", "", "*", "/hello/", "/Hello", "/file", "/file/", "/filex"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_not_found(path: str, method: str) -> None:
    status, headers, body = get(path, method)
    assert status == 404
    assert headers["Content-Type"] == "text/plain"
    assert body == b"no such path: the routes are in servers/app/CONTRACT.md\n"


@pytest.mark.parametrize(
    "path", [*sorted(set(ROUTES) - {"/echo"}), "/file/hello.txt", "/file/nothing"]
)
def test_method_not_allowed(path: str) -> None:
    status, headers, body = get(path, "POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert body == b"this path takes GET, HEAD only\n"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "post"])
def test_echo_takes_post_only(method: str) -> None:
    status, headers, body = get("/echo", method)
    assert (status, headers["Allow"], body) == (405, "POST", b"this path takes POST only\n")


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("", "n is missing: give a whole number from 1 to 1000000"),
        ("m=1", "n is missing: give a whole number from 1 to 1000000"),
        ("N=1", "n is missing: give a whole number from 1 to 1000000"),
        ("n=1&n=2", "n is given more than once: give a whole number from 1 to 1000000, once"),
        ("n=1&%6E=2", "n is given more than once: give a whole number from 1 to 1000000, once"),
        ("n", "n is not a number: give a whole number from 1 to 1000000"),
        ("n=", "n is not a number: give a whole number from 1 to 1000000"),
        ("n=-1", "n is not a number: give a whole number from 1 to 1000000"),
        ("n=1+1", "n is not a number: give a whole number from 1 to 1000000"),
        ("n=%B2", "n is not a number: give a whole number from 1 to 1000000"),
        ("n=0", "n is out of range: give a whole number from 1 to 1000000"),
        ("n=000", "n is out of range: give a whole number from 1 to 1000000"),
        ("n=1000001", "n is out of range: give a whole number from 1 to 1000000"),
        pytest.param(
            "n=" + "9" * 5000,
            "n is out of range: give a whole number from 1 to 1000000",
            id="thousands of digits",
        ),
    ],
)
def test_parameters_refused(query: str, line: str) -> None:
    status, headers, body = get(f"/cpu?{query}")
    assert (status, body.decode()) == (400, line + "\n")
    assert headers["Content-Type"] == "text/plain"


@pytest.mark.parametrize(
    "query",
    [
        "n=2",
        "n=%32",
        "%6e=2",
        "a=n=3&n=2",
        "&&n=2&",
        pytest.param("n=" + "0" * 5000 + "2", id="thousands of zeros"),
    ],
)
def test_parameters_taken(query: str) -> None:
    assert get(f"/cpu?{query}")[2] == get("/cpu?n=2")[2]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/wait", "ms"),
        ("/bytes", "n"),
        ("/stream?ms=1", "n"),
        ("/stream?n=1", "ms"),
        ("/stream", "n"),
    ],
)
def test_each_parameter_is_needed(target: str, name: str) -> None:
    status, _, body = get(target)
    assert status == 400
    assert body.startswith(f"{name} is missing: ".encode())


@pytest.mark.usefixtures("bugs")
@pytest.mark.parametrize("path", ["/f", "/wf"])
def test_failure_is_told_to_the_log_alone(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response, _ = ask(make_request(path))
    assert response.status == 500
    assert response.body == b"the application failed: its log says why\n"
    assert "ZeroDivisionError" in caplog.text
    assert "bug" in caplog.text


@pytest.mark.usefixtures("bugs")
def test_refused_after_a_wait() -> None:
    response, waits = ask(make_request("/wr"))
    assert (response.status, response.body, waits) == (400, b"too late\n", [0.5])


@pytest.mark.parametrize("error", [ConnectionResetError, EOFError])
def test_a_client_that_went_away_is_the_servers_business(error: type[Exception]) -> None:
    class Gone:
        def read(self, _size: int) -> bytes:
            raise error

    request = make_request("/echo", "POST", b"xxx")
    request.body = Gone()
    with pytest.raises(error):
        handle(request)


def test_steps_can_be_dropped() -> None:
    steps = handle(make_request("/wait?ms=5"))
    assert not isinstance(steps, Response)
    assert advance(steps) == Wait(0.005)
    steps.close()


def test_a_response_that_is_not_sent_frees_its_body() -> None:
    for target in ("/stream?n=3&ms=1", "/file/hello.txt", "/bytes?n=100000", "/hello"):
        response, _ = ask(make_request(target))
        response.close()
        response.close()
        if not isinstance(response.body, bytes) and target != "/file/hello.txt":
            assert list(response.body) == []  # type: ignore[arg-type]


def test_every_status_has_a_reason() -> None:
    statuses = {200, 206, 304, 400, 404, 405, 413, 416, 500}
    assert set(REASONS) == statuses
