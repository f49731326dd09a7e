"""HTTP in PHP, by the cases of tests/wire: over a socket, whole and byte by byte.

select.php and coroutine.php share the parser, so one of them is asked. What both have to do as
servers is in tests/architectures.
"""

import fcntl
import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servers.common.registry import SPECS
from tests.support.architectures import Running, running
from tests.support.processes import PATIENCE

CASES = Path(__file__).parents[1] / "chainlab/wire/http1/cases/server"
SCRIPTS = Path(__file__).parents[2] / "servers/php"
LIMIT = 1000  # bytes of content
PROBE = b"GET /whoami HTTP/1.1\r\nHost: probe\r\n\r\n"
Answer = tuple[http.client.HTTPResponse, bytes]


def cases(kind: str) -> list[Any]:
    """Return the cases whose limits are not their own: PHP's are tested below."""
    found = []
    for path in sorted((CASES / kind).glob("*.raw")):
        expected = json.loads(path.with_suffix(".json").read_text())
        if "limits" not in expected:
            found.append(pytest.param(path.read_bytes(), expected, id=path.stem))
    assert len(found) > 50, f"cases are missing in {kind}"
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    listen = f"unix:{tmp_path_factory.mktemp('php-cli')}/s"
    environment = {"CHAINLAB_BODY_LIMIT": str(LIMIT)}
    with running(SPECS["php-select"], listen, environment=environment) as found:
        yield found


class Received:
    """What http.client reads responses from."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self._stream.close = lambda: None  # type: ignore[method-assign]  # several are in it
        self._size = len(data)

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._stream

    def __bool__(self) -> bool:
        return self._stream.tell() < self._size


def wait_until_taken(client: socket.socket) -> None:
    """Return as soon as the server has received all that was sent (man unix(7), SIOCOUTQ)."""
    deadline = time.monotonic() + PATIENCE
    while any(fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4))):
        assert time.monotonic() < deadline, "the server does not receive"
        os.sched_yield()  # it takes microseconds, thousands of times


def exchange(server: Running, raw: bytes, *, eof: bool, bytewise: bool) -> bytes:
    """Send `raw`, close the sending direction if `eof`, and return what comes until the end."""
    with server.connect() as client:
        try:
            for at in range(0, len(raw), 1 if bytewise else max(1, len(raw))):
                client.send(raw[at : at + 1] if bytewise else raw)
                if bytewise:
                    wait_until_taken(client.socket)
            if eof:
                client.socket.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass  # it has refused already
        return client.read_to_end()


def responses(received: bytes, methods: list[str]) -> list[Answer]:
    """Return the responses to requests of these methods; all that was received is used up."""
    found = []
    stream = Received(received)
    for method in methods:
        if stream:
            head = http.client.HTTPResponse(stream, method=method)  # type: ignore[arg-type]
            head.begin()
            found.append((head, head.read()))
    assert not stream, "more came than was asked for"
    return found


def with_routes(raw: bytes) -> bytes:
    """Have a case ask for what tells how it was read: / is no path of the application."""
    raw = raw.replace(b"GET / HTTP", b"GET /whoami HTTP")
    return raw.replace(b"POST / HTTP", b"POST /echo HTTP")


def assert_read_as(answer: Answer, message: dict[str, Any]) -> None:
    """Compare an answer with what the case says of its request."""
    head, body = answer
    asked = (message["method"], message["target"])
    assert head.status == (200 if asked in {("GET", "/"), ("POST", "/")} else 404)
    if asked == ("POST", "/") and "body" in message:
        assert body == message["body"].encode("latin-1")
    if asked == ("GET", "/"):
        told = json.loads(body)
        assert told["http_version"] == f"HTTP/1.{message.get('minor', 1)}"
        gathered: dict[str, str] = {}
        for name, value in message.get("fields", []):
            gathered[name] = f"{gathered[name]}, {value}" if name in gathered else value
        seen = {name: value for name, value in gathered.items() if "_" not in name}
        assert told["headers"].items() >= seen.items()
        if message.get("keep_alive") is not None:
            assert head.will_close is not message["keep_alive"]


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize(("raw", "expected"), cases("valid"))
def test_a_valid_request_is_read(
    server: Running, raw: bytes, expected: dict[str, Any], bytewise: bool
) -> None:
    """A request of ours behind the case's is answered, or the connection ended as it had to."""
    messages = expected["messages"]
    methods = [message["method"] for message in messages]
    sent = with_routes(raw) + PROBE
    received = exchange(server, sent, eof=True, bytewise=bytewise)
    answers = responses(received, [*methods, "GET"])
    for answer, message in zip(answers, messages, strict=False):
        assert_read_as(answer, message)
    last = answers[len(messages) - 1][0]
    assert len(answers) == len(messages) + (not last.will_close)
    if not last.will_close:
        assert json.loads(answers[-1][1])["headers"] == {"host": "probe"}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize(("raw", "expected"), cases("invalid"))
def test_an_invalid_request_is_refused_and_closed(
    server: Running, raw: bytes, expected: dict[str, Any], bytewise: bool
) -> None:
    eof = expected.get("eof", False)
    received = exchange(server, raw, eof=eof, bytewise=bytewise)
    head, body = responses(received, ["GET", "GET"])[-1]
    assert head.status == expected["status"]
    assert head.will_close
    reason = "too large" if head.status == 413 else expected["reason"]
    assert reason in body.decode()


def head_of(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode()


def chunked(body: bytes) -> bytes:
    return head_of("POST /echo HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + body


# Each with one more than may be: bytes of a line, of a block, of content; lines of a block.
LIMITS = {
    "line": (8192, 414, lambda n: head_of(f"GET /{'a' * (n - 14)} HTTP/1.1", "Host: a")),
    "block": (32768, 431, lambda n: head_of("GET / HTTP/1.1", "Host: a", f"X: {'a' * (n - 14)}")),
    "fields": (100, 431, lambda n: head_of("GET / HTTP/1.1", "Host: a", *["X: a"] * (n - 1))),
    "length": (
        LIMIT,
        413,
        lambda n: head_of("POST / HTTP/1.1", "Host: a", f"Content-Length: {n}") + bytes(n),
    ),
    "chunks": (LIMIT, 413, lambda n: chunked(b"1\r\na\r\n" * n + b"0\r\n\r\n")),
    "chunk line": (4096, 400, lambda n: chunked(b"0;" + b"a" * (n - 2) + b"\r\n\r\n")),
    "trailers": (8192, 431, lambda n: chunked(b"0\r\nX: " + b"a" * (n - 3) + b"\r\n\r\n")),
}


@pytest.mark.parametrize(("most", "status", "make"), LIMITS.values(), ids=list(LIMITS))
def test_limits(server: Running, most: int, status: int, make: Any) -> None:
    received = exchange(server, make(most), eof=True, bytewise=False)
    assert responses(received, ["GET"])[0][0].status in (200, 404)
    received = exchange(server, make(most + 1), eof=False, bytewise=False)
    assert responses(received, ["GET"])[0][0].status == status


def test_a_client_that_waits_for_a_word_gets_it(server: Running) -> None:
    with server.connect() as client:
        fields = ["Content-Length: 2", "Expect: 100-continue"]
        client.send(head_of("POST /echo HTTP/1.1", "Host: a", *fields))
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hi")
        assert client.response()[1] == b"hi"


@pytest.mark.parametrize("name", ["php-select", "php-coroutine"])
def test_whom_they_serve(name: str, tmp_path: Path) -> None:
    """The client of a unix socket has no address; the id is the architecture's."""
    for listen, client_address in ((f"unix:{tmp_path}/s", "unix:"), ("127.0.0.1:0", "127.0.0.1")):
        with running(SPECS[name], listen) as running_server, running_server.connect() as client:
            for count in (1, 2):
                client.send(PROBE)
                told = json.loads(client.response()[1])
                assert (told["architecture"], told["client"]) == (name, client_address)
                assert told["requests"] == count


@pytest.mark.parametrize("name", ["php-select", "php-coroutine"])
def test_a_long_answer_leaves_others_their_turn(name: str) -> None:
    """Somebody who takes whatever comes, at once, is served between two others."""
    with running(SPECS[name]) as server, server.connect() as greedy:
        greedy.send(b"GET /bytes?n=67108864 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = len(greedy.read_until(b"\r\n\r\n"))
        with server.connect() as other:
            other.request("GET", "/hello", Connection="close")
            other.socket.setblocking(False)
            while received < 67108864:
                data = greedy.socket.recv(1 << 20)
                assert data
                received += len(data)
                try:
                    said = other.socket.recv(4096)
                except BlockingIOError:
                    continue
                assert b"Hello, world!" in said
                break
        assert received < 60_000_000


@pytest.mark.parametrize("arguments", [[], ["--fd", "x"], ["--fd", "99", "--connections", "1"]])
@pytest.mark.parametrize("script", ["select.php", "coroutine.php"])
def test_a_wrong_command_line_is_told(script: str, arguments: list[str]) -> None:
    if shutil.which("php") is None:
        pytest.skip("php is not installed: run sudo apt install php-cli")
    command = ["php", str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: php SCRIPT --fd N --connections M")
    assert done.stdout == ""


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    for name in ("php-select", "php-coroutine"):
        assert SPECS[name].unavailable() == "php is not installed: run sudo apt install php-cli"
