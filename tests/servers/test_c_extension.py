"""What is special to the server in C: its parser, its memory, the GIL, what it does with mistakes.

Its loop runs here in a thread, with an application of the test's own, so that what the parser read
is at hand; the wire cases are those of chainlab.wire.http1. What it shares
with the other architectures is tested with them (tests/architectures).
"""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

import pytest

from chainlab.transport import bind_listener, bound_address, parse_address
from servers.app import routes
from servers.app.messages import Request, Response, Steps, Wait, text
from servers.c_extension import server as c_extension
from servers.common.registry import SPECS
from tests.support.architectures import running
from tests.support.gateway import RawClient
from tests.support.processes import resident_kib, wait_until

if TYPE_CHECKING:
    from servers.c_extension._server import Loop
else:
    if (reason := SPECS["c-extension"].unavailable()) is not None:
        pytest.skip(f"c-extension: {reason}", allow_module_level=True)
    from servers.c_extension._server import Loop

CASES: Final = Path(__file__).parents[1] / "chainlab/wire/http1/cases/server"
OK: Final = text(200, "fine")
LOG: Final = logging.getLogger("servers")


class Application(ModuleType):
    """servers.app.routes, but what a request is answered is the test's: `answer`."""

    def __init__(self, content: int = routes.BODY_LIMIT) -> None:
        super().__init__("application")
        vars(self).update(vars(routes), BODY_LIMIT=content, handle=self._handle)
        self.seen: list[dict[str, Any]] = []
        self.answer: Callable[[Request], Any] = lambda _request: OK

    def _handle(self, request: Request) -> Any:
        body = b"".join(iter(lambda: request.body.read(100), b""))
        self.seen.append(
            {
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "minor": int(request.http_version[-1]),
                "chunked": request.content_length is None,
                "body": body.decode("latin-1"),
                "headers": dict(request.headers),
            }
        )
        return self.answer(request)


@contextmanager
def serving(
    application: Application, patience: float = 10.0, idle: float = 75.0
) -> Iterator[RawClient]:
    """Run a loop in a thread; give a client of it, whose `again` makes more."""
    listener = bind_listener(parse_address("127.0.0.1:0"))
    loop = Loop(application, LOG, connections=64, patience=patience, idle=idle)
    thread = threading.Thread(target=loop.run, args=(listener.fileno(),), kwargs={"grace": 0.0})
    thread.start()
    try:
        with RawClient(bound_address(listener)) as client:
            yield client
    finally:
        loop.stop()
        thread.join()
        loop.close()
        listener.close()


def cases(kind: str) -> list[Any]:
    """Return the wire cases whose limits this parser can be told: that of content."""
    found = []
    for path in sorted((CASES / kind).glob("*.raw")):
        expected = json.loads(path.with_suffix(".json").read_text())
        if expected.get("limits", {}).keys() <= {"body"}:
            found.append(pytest.param(path.read_bytes(), expected, id=path.stem))
    assert len(found) > 30, f"no cases in {kind}"
    return found


def deliver(raw: bytes, expected: dict[str, Any], size: int) -> tuple[bytes, list[dict[str, Any]]]:
    """Send `raw` in pieces of `size` bytes; return all that came back, and what was read."""
    application = Application(expected.get("limits", {}).get("body", routes.BODY_LIMIT))
    with serving(application) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):  # refused before its end
            for at in range(0, len(raw), size):
                client.send(raw[at : at + size])
            if "status" not in expected or expected.get("eof"):
                client.socket.shutdown(socket.SHUT_WR)
        # A client that sends on after its last request may be reset: a while after a refusal, or at
        # once after `Connection: close`. What came before the reset is its answer.
        sends_on = "status" in expected or raw.count(b" HTTP/1.") > len(expected["messages"])
        return client.read_to_end(reset=sends_on), application.seen


@pytest.mark.parametrize("size", [1, 1 << 20], ids=["bytes", "whole"])
@pytest.mark.parametrize(("raw", "expected"), cases("valid"))
def test_a_valid_request_is_read(raw: bytes, expected: dict[str, Any], size: int) -> None:
    came, seen = deliver(raw, expected, size)
    assert came.count(b"HTTP/1.1 200 OK\r\n") == len(seen) == len(expected["messages"])
    for message, wanted in zip(seen, expected["messages"], strict=True):
        for key in ("method", "query", "minor", "chunked", "body"):
            assert message[key] == wanted.get(key, message[key])
        if "path" in wanted:
            assert message["path"] == unquote_to_bytes(wanted["path"]).decode("latin-1")
        for name, value in wanted.get("fields", []):
            assert "_" in name or value in message["headers"][name]


@pytest.mark.parametrize("size", [1, 1 << 20], ids=["bytes", "whole"])
@pytest.mark.parametrize(("raw", "expected"), cases("invalid"))
def test_an_invalid_request_is_refused_and_closed(
    raw: bytes, expected: dict[str, Any], size: int
) -> None:
    came, _ = deliver(raw, expected, size)
    answers = came.split(b"HTTP/1.1 ")[1:]
    assert answers[-1].startswith(b"%d " % expected["status"])
    assert b"\r\nConnection: close\r\n" in answers[-1]
    assert all(answer.startswith((b"200 ", b"100 ")) for answer in answers[:-1])


START: Final = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED: Final = START + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /" + b"a" * (8192 - 14) + b" HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET /" + b"a" * (8192 - 13) + b" HTTP/1.1\r\n", 414),
        (b"a" * 8193, 414),
        (START + b"b: " + b"c" * (32768 - 14) + b"\r\n\r\n", 200),
        (START + b"b: " + b"c" * (32768 - 8), 431),
        (START + b"b: c\r\n" * 99 + b"\r\n", 200),
        (START + b"b: c\r\n" * 100 + b"\r\n", 431),
        (CHUNKED + b"0;a=" + b"b" * 4092 + b"\r\n\r\n", 200),
        (CHUNKED + b"0;a=" + b"b" * 4093, 400),
        (CHUNKED + b"0\r\nb: " + b"c" * 8187 + b"\r\n\r\n", 200),
        (CHUNKED + b"0\r\nb: " + b"c" * 8190, 431),
        (CHUNKED + b"0\r\n" + b"b: c\r\n" * 100 + b"\r\n", 200),
        (CHUNKED + b"0\r\n" + b"b: c\r\n" * 101, 431),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else f"{value[:6]}-{len(value)}",
)
def test_limits(raw: bytes, status: int) -> None:
    expected: dict[str, Any] = {"status": status} if status != 200 else {"messages": [{}]}
    came, _ = deliver(raw, expected, 1 << 20)
    assert came.startswith(b"HTTP/1.1 %d " % status)


def test_other_threads_run_while_it_waits() -> None:
    """Were the GIL held in epoll_wait, this thread would stand still, and so would the test."""
    with serving(Application()) as client:
        turns = 0
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            turns += 1
        assert turns > 1000
        client.request("GET", "/")
        assert client.response()[1] == OK.body


def test_others_are_served_while_a_handler_waits() -> None:
    application = Application()

    def wait() -> Steps:
        while len(application.seen) < 3:
            yield Wait(0.001)
        return OK

    application.answer = lambda request: wait() if request.path == "/wait" else OK
    with serving(application) as client:
        client.request("GET", "/wait")
        for _ in range(2):
            with again(client) as other:
                other.request("GET", "/")
                assert other.response()[1] == OK.body
        assert client.response()[1] == OK.body


def again(client: RawClient) -> RawClient:
    """Return another connection to the same server."""
    host, port = client.socket.getpeername()
    return RawClient(parse_address(f"{host}:{port}"))


def test_a_handler_that_raises_is_500_and_its_traceback_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = Application()

    def raise_it(_request: Request) -> Response:
        raise RuntimeError("the handler's own")

    application.answer = raise_it
    with serving(application) as client:
        client.request("GET", "/")
        head, body = client.response()
        assert (head.status, body) == (500, b"the application failed: its log says why\n")
        assert client.closed_by_peer
        application.answer = lambda _request: OK
        with again(client) as other:
            other.request("GET", "/")
            assert other.response()[1] == OK.body
    assert 'raise RuntimeError("the handler\'s own")' in caplog.text


BROKEN: Final = {
    "no response": None,
    "no status": Response(99, (), b""),
    "no body": Response(200, (), None),  # type: ignore[arg-type]
    "another length": Response(200, (("Content-Length", "5"),), b"six..."),
    "a length of two": Response(200, (("Content-Length", "1"), ("content-length", "2")), b"."),
    "a line break": Response(200, (("Location", "/\r\nX: y"),), b""),
    "no latin-1": Response(200, (("X", "\u20ac"),), b""),
    "no token": Response(200, (("X:", "y"),), b""),
    "framing": Response(200, (("Transfer-Encoding", "chunked"),), b""),
    "no headers": Response(200, None, b""),  # type: ignore[arg-type]
    "no piece": Response(200, (), iter(["text"])),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_what_is_no_response_is_500(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    application = Application()
    application.answer = lambda _request: answer
    with serving(application) as client:
        client.request("GET", "/")
        assert client.response()[0].status == 500
    assert "TypeError: " in caplog.text or "ValueError: " in caplog.text


def test_a_body_that_breaks_off_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half of it"
        raise RuntimeError("the body's own")

    application = Application()
    application.answer = lambda _request: Response(200, (), pieces())
    with serving(application) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        came = client.socket.makefile("rb")
        with came, pytest.raises(ConnectionResetError):  # an end would seem to be the content's
            came.read()
    assert "the body's own" in caplog.text


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (b"", b""),
        (b"GET / HTTP", b"HTTP/1.1 408 "),
        (START + b"Content-Length: 5\r\n\r\n1234", b"HTTP/1.1 408 "),
        (CHUNKED + b"5\r\n1234", b"HTTP/1.1 408 "),
        (START + b"\r\n", b"HTTP/1.1 200 "),
    ],
    ids=["silent", "in-head", "in-content", "in-chunk", "idle"],
)
def test_who_is_slow_is_timed_out(raw: bytes, answer: bytes) -> None:
    with serving(Application(), patience=0.05, idle=0.05) as client:
        client.send(raw)
        came = client.read_to_end()
        assert came.startswith(answer)
        assert bool(came) == bool(answer)


def test_a_generator_is_closed_when_its_client_is_gone() -> None:
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(65536)
        finally:
            closed.set()

    application = Application()
    application.answer = lambda _request: Response(200, (), endless())
    with serving(application) as client:
        client.request("GET", "/")
        assert client.socket.recv(1000)
        client.socket.close()
        assert closed.wait(20)


def test_a_loop_runs_once() -> None:
    listener = bind_listener(parse_address("127.0.0.1:0"))
    with listener:
        loop = Loop(Application(), LOG, connections=1, patience=1.0, idle=1.0)
        loop.stop()
        loop.stop()
        loop.run(listener.fileno(), grace=0.0)
        with pytest.raises(RuntimeError, match="a loop runs once"):
            loop.run(listener.fileno(), grace=0.0)
        loop.close()
        loop.close()
        loop.stop()


@pytest.mark.parametrize(
    "wrong", [{"connections": 0}, {"patience": -1.0}, {"idle": float("nan")}], ids=str
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="from"):
        Loop(Application(), LOG, **{"connections": 1, "patience": 1.0, "idle": 1.0, **wrong})


REQUESTS: Final = (
    b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
    b"GET /whoami?x=y HTTP/1.1\r\nHost: a\r\nX-A: b\r\nX-A: c\r\n\r\n"
    b"GET /bytes?n=70000 HTTP/1.1\r\nHost: a\r\n\r\n"
    b"GET /stream?n=3&ms=0 HTTP/1.1\r\nHost: a\r\n\r\n"
    b"GET /wait?ms=0 HTTP/1.1\r\nHost: a\r\n\r\n"
    b"GET /file/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n"
    b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"
    b"GET /cpu?n=x HTTP/1.1\r\nHost: a\r\n\r\n"
    b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)
KINDS: Final = 10


@pytest.mark.long
def test_memory_is_flat_over_20000_requests() -> None:
    with running(SPECS["c-extension"]) as server:

        def ask(times: int) -> None:
            for _ in range(times // KINDS // 10):
                with server.connect() as client:
                    client.send(REQUESTS * 10)
                    client.socket.shutdown(socket.SHUT_WR)
                    assert client.read_to_end().count(b"\r\nDate: ") == KINDS * 10

        ask(2000)
        before = resident_kib(server.process.pid)
        ask(20000)
        assert resident_kib(server.process.pid) - before < 512
        assert "Traceback" not in server.process.stderr


def test_what_is_not_built_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_extension, "EXTENSION_SUFFIXES", [])
    assert SPECS["c-extension"].unavailable() == (
        "not built: install gcc and python3-dev, then run make setup"
    )


def test_a_kept_connection_is_left_when_it_is_stopped() -> None:
    """A client that is idle does not hold up the end, and what it holds is closed."""
    listener = bind_listener(parse_address("127.0.0.1:0"))
    loop = Loop(Application(), LOG, connections=2, patience=10.0, idle=75.0)
    thread = threading.Thread(target=loop.run, args=(listener.fileno(),), kwargs={"grace": 60.0})
    thread.start()
    with listener, RawClient(bound_address(listener)) as client:
        client.request("GET", "/")
        assert client.response()[1] == OK.body
        wait_until(lambda: loop.connections == 1, "it is counted")
        loop.stop()
        thread.join(20)
        assert not thread.is_alive()
        assert loop.connections == 0
        assert client.closed_by_peer
    loop.close()
