"""What the gateway tells of a request: Server-Timing and traceparent, and nothing unless asked."""

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainlab.transport import Address
from chainlab.wire.trace_context import parse_traceparent
from tests.support.gateway import (
    FastCGIPeer,
    Gateway,
    RawClient,
    Scripted,
    fastcgi,
    running_gateway,
    serve_always,
)
from tests.support.processes import wait_until
from tests.support.timing import log_lines, server_timing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{SPAN}-00"
OWN = ["gw-accept", "gw-queue", "gw-connect", "gw-first-byte"]


def mirror(peer: FastCGIPeer) -> None:
    """Answer every request with its parameters, as JSON."""
    while (request := peer.request()) is not None:
        peer.answer(b"Content-Type: text/plain\r\n\r\n" + json.dumps(request.params).encode())


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that tells all, before `mirror`."""
    with (
        fastcgi(tmp_path, mirror) as back,
        running_gateway(
            *("--fastcgi", str(back.address), "--server-timing", "--traceparent"),
            *("--access-log", str(tmp_path / "g.log"), "--log-format", "json"),
        ) as found,
    ):
        yield found


def params_of(client: RawClient, method: str = "GET", body: bytes = b"", **fields: str) -> Any:
    return json.loads(client.ask(method, "/", body, **fields)[1])


def test_nothing_is_added_unless_asked_for(tmp_path: Path) -> None:
    with (
        fastcgi(tmp_path, mirror) as back,
        running_gateway("--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        client.request("GET", "/", traceparent="mine", tracestate="x=1", X_Request_Start="t=1")
        head = client.read_until(b"\r\n\r\n").split(b"\r\n\r\n")[0]
        params = params_of(client)
        kept = params_of(client, traceparent="mine", tracestate="x=1", X_Request_Start="t=1")
    assert [line.split(b": ")[0] for line in head.split(b"\r\n")] == [
        b"HTTP/1.1 200 OK", b"Server", b"Content-Type", b"Date", b"X-Request-Id", b"Content-Length",
    ]  # fmt: skip
    assert not {"HTTP_TRACEPARENT", "HTTP_TRACESTATE", "HTTP_X_REQUEST_START"} & set(params)
    assert (kept["HTTP_TRACEPARENT"], kept["HTTP_TRACESTATE"]) == ("mine", "x=1")
    assert kept["HTTP_X_REQUEST_START"] == "t=1"


@pytest.mark.parametrize("option", ["--server-timing", "--traceparent"])
def test_each_is_asked_for_by_itself(tmp_path: Path, option: str) -> None:
    with (
        fastcgi(tmp_path, mirror) as back,
        running_gateway("--fastcgi", str(back.address), option) as found,
        found.connect() as client,
    ):
        for _ in range(2):
            head, body = client.ask("GET", "/")
            params = json.loads(body)
            assert ("Server-Timing" in head.headers) == (option == "--server-timing")
            assert ("HTTP_X_REQUEST_START" in params) == (option == "--server-timing")
            assert ("HTTP_TRACEPARENT" in params) == (option == "--traceparent")
            assert params["HTTP_X_REQUEST_ID"] == head.headers["X-Request-Id"]
            assert params["REMOTE_PORT"].isdigit()


def test_the_parts_are_within_what_the_client_measures(telling: Gateway) -> None:
    with telling.connect() as client:
        for _ in range(3):
            begun = time.monotonic()
            with telling.connect() as fresh:
                first = server_timing(fresh.ask("GET", "/")[0])
            measured = (time.monotonic() - begun) * 1000
            assert list(first) == OWN
            assert 0 < sum(first.values()) <= measured
            kept = server_timing(client.ask("GET", "/")[0])
            assert kept["gw-first-byte"] > 0
    with telling.connect() as again:
        again.ask("GET", "/")
        kept = server_timing(again.ask("GET", "/")[0])
        assert [kept[name] for name in OWN[:3]] == [0, 0, 0]  # in one read, a connection was free


def unread(client: RawClient) -> int:
    """Return the bytes that have reached the gateway and that it has not read."""
    ours, theirs = client.socket.getsockname()[1], client.socket.getpeername()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if (local[-4:], remote[-4:]) == (f"{theirs:04X}", f"{ours:04X}"):
            return int(queues.partition(":")[2], 16)
    raise LookupError("no such connection")


def test_a_head_that_drips_in(telling: Gateway) -> None:
    """The time is the client's: gw-accept, from the head's first byte on."""
    with telling.connect() as client:
        client.ask("GET", "/")
        time.sleep(0.05)
        assert server_timing(client.ask("GET", "/")[0])["gw-accept"] == 0  # to lie idle is no part
        client.send(b"GET / HTTP/1.1\r\n")
        wait_until(lambda: not unread(client), "the gateway has read the first line")
        time.sleep(0.05)
        client.send(b"Host: test\r\n\r\n")
        assert server_timing(client.response()[0])["gw-accept"] >= 50


def test_the_upstream_is_told_when_it_was_asked(telling: Gateway) -> None:
    with telling.connect() as client:
        before = time.time_ns() // 1000
        for body in (b"", b"content"):
            params = params_of(client, "POST", body, X_Request_Start="t=1")
            start = re.fullmatch(r"t=([0-9]{16})", params["HTTP_X_REQUEST_START"])
            assert start
            assert before <= int(start[1]) <= time.time_ns() // 1000


@pytest.mark.parametrize("body", [b"", b"content"])
def test_a_trace_is_continued(telling: Gateway, tmp_path: Path, body: bytes) -> None:
    with telling.connect() as client:
        params = params_of(client, "POST", body, traceparent=GIVEN, tracestate="a=1,b=2")
    told = parse_traceparent(params["HTTP_TRACEPARENT"].encode())
    assert told
    assert (told.trace_id.decode(), told.sampled) == (TRACE, False)
    assert told.span_id.decode() != SPAN
    assert params["HTTP_TRACESTATE"] == "a=1,b=2"
    (line,) = log_lines(tmp_path / "g.log", 1)
    assert (line["trace"], line["parent"], line["sampled"]) == (TRACE, SPAN, False)
    assert line["span"] == told.span_id.decode()


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"traceparent: \r\n",
        b"traceparent: 00-" + b"0" * 32 + b"-" + SPAN.encode() + b"-01\r\n",
        b"traceparent: ff" + GIVEN[2:].encode() + b"\r\n",
        b"traceparent: " + GIVEN.encode() + b"-more\r\n",
        b"traceparent: " + GIVEN.encode() + b"\r\nTraceparent: " + GIVEN.encode() + b"\r\n",
    ],
)
def test_what_is_no_trace_begins_one(telling: Gateway, tmp_path: Path, fields: bytes) -> None:
    with telling.connect() as client:
        seen = set()
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\ntracestate: a=1\r\n" + fields + b"\r\n")
            params = json.loads(client.response()[1])
            told = parse_traceparent(params["HTTP_TRACEPARENT"].encode())
            assert told
            assert told.sampled
            assert "HTTP_TRACESTATE" not in params
            seen |= {told.trace_id, told.span_id}
    assert len(seen) == 4
    assert TRACE.encode() not in seen
    assert [line["parent"] for line in log_lines(tmp_path / "g.log", 2)] == [None, None]


def test_a_version_to_come_is_continued_as_ours(telling: Gateway) -> None:
    with telling.connect() as client:
        params = params_of(client, traceparent=f"cc{GIVEN[2:-2]}03-news", tracestate="a=1")
    assert params["HTTP_TRACEPARENT"].startswith(f"00-{TRACE}-")
    assert params["HTTP_TRACEPARENT"].endswith("-01")
    assert params["HTTP_TRACESTATE"] == "a=1"


def test_an_http_upstream_is_told_the_same() -> None:
    heads: list[bytes] = []

    def script(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            heads.append(data)
            while data.startswith(b"POST") and not data.endswith(b"content"):
                data += connection.recv(65536)
            timing = b"Server-Timing: db;dur=7\r\n"
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\nok" % timing)

    with (
        Scripted(Address("127.0.0.1", 0), script) as back,
        running_gateway("--http", str(back.address), "--server-timing", "--traceparent") as found,
        found.connect() as client,
    ):
        head, _ = client.ask("GET", "/", traceparent=GIVEN, tracestate="a=1")
        client.ask("POST", "/", b"content", X_Request_Start="t=9")
    assert list(server_timing(head)) == ["db", *OWN]
    assert re.search(rb"\r\ntraceparent: 00-" + TRACE.encode() + rb"-[0-9a-f]{16}-00\r\n", heads[0])
    assert b"\r\ntracestate: a=1\r\n" in heads[0]
    for told in heads:
        assert len(re.findall(rb"(?i)\r\nX-Request-Start: t=[0-9]{16}\r\n", told)) == 1
        assert b"t=9\r\n" not in told


@pytest.mark.parametrize(
    "fields",
    [
        b"Server-Timing: db;dur=7",
        b"Server-Timing: db;dur=7\r\nX-After: x",  # not the last: read as any field
        b"server-timing:db;dur=7",
    ],
)
def test_what_the_upstream_tells_is_passed_on(tmp_path: Path, fields: bytes) -> None:
    content = b"Content-Type: text/plain\r\n" + fields + b"\r\n\r\nok"
    for options in ([], ["--traceparent"], ["--server-timing"]):
        with (
            fastcgi(tmp_path, serve_always(content), f"{len(options)}{options}") as back,
            running_gateway("--fastcgi", str(back.address), *options) as found,
            found.connect() as client,
        ):
            for _ in range(2):  # the second is a head that has been seen
                head, body = client.ask("GET", "/")
                own = OWN if "--server-timing" in options else []
                assert list(server_timing(head)) == ["db", *own]
                assert body == b"ok"
                assert head.headers.get("X-After") == ("x" if b"After" in fields else None)


def test_an_upstreams_timing_cannot_split_the_answer(tmp_path: Path) -> None:
    content = b"Content-Type: text/plain\r\nServer-Timing: a\rb: c\r\n\r\nok"
    with (
        fastcgi(tmp_path, serve_always(content)) as back,
        running_gateway("--fastcgi", str(back.address), "--server-timing") as found,
        found.connect() as client,
    ):
        assert client.ask("GET", "/")[0].status == 502


def test_streams_and_answers_without_content_tell_it_too(tmp_path: Path) -> None:
    go_on = threading.Event()

    def script(peer: FastCGIPeer) -> None:
        while (request := peer.request()) is not None:
            if request.params["REQUEST_URI"] == "/none":
                peer.answer(b"Status: 204\r\n\r\n")
                continue
            peer.stdout(b"Content-Type: text/plain\r\nServer-Timing: db;dur=7\r\n\r\nfirst ")
            assert go_on.wait(20)
            peer.stdout(b"last")
            peer.end()

    with (
        fastcgi(tmp_path, script) as back,
        running_gateway("--fastcgi", str(back.address), "--server-timing") as found,
        found.connect() as client,
    ):
        client.request("GET", "/stream")
        begun = client.read_until(b"first ")
        assert re.search(rb"\r\nServer-Timing: db;dur=7, gw-accept;dur=[^\r]*\r\n", begun)
        go_on.set()
        client.read_until(b"0\r\n\r\n")
        for method, path in (("HEAD", "/head"), ("GET", "/none")):
            assert list(server_timing(client.ask(method, path)[0]))[-4:] == OWN


def write(folder: Path, upstream: str, more: str) -> Path:
    path = folder / "g.toml"
    path.write_text(
        'listen = ["127.0.0.1:0"]\nserver_timing = true\ntraceparent = true\n'
        f'[log]\naccess = "{folder}/g.log"\nformat = "json"\n'
        f'[upstream.app]\nprotocol = "fastcgi"\naddresses = ["{upstream}"]\nconnections = 1\n'
        f"{more}"
    )
    return path


def test_an_upstream_that_is_not_there(tmp_path: Path) -> None:
    config = write(tmp_path, f"unix:{tmp_path}/none", "")
    with running_gateway("--config", str(config)) as found, found.connect() as client:
        head, _ = client.ask("GET", "/", traceparent=GIVEN)
    assert head.status == 502
    assert list(server_timing(head)) == OWN[:3]
    (line,) = log_lines(tmp_path / "g.log", 1)
    assert (line["status"], line["id"]) == (502, head.headers["X-Request-Id"])
    assert (line["trace"], line["parent"]) == (TRACE, SPAN)
    assert [line["milliseconds"][part] is None for part in ("connect", "first_byte", "send")] == [
        False, True, True,
    ]  # fmt: skip


def test_one_that_does_not_answer_and_a_queue_before_it(tmp_path: Path) -> None:
    """504 says how long the first byte was waited for, 503 how long a connection was."""
    runs, let_go = threading.Event(), threading.Event()

    def script(peer: FastCGIPeer) -> None:
        peer.request()
        runs.set()
        let_go.wait(20)

    with fastcgi(tmp_path, script, FCGI_MAX_CONNS="1") as back:
        config = write(tmp_path, str(back.address), "[timeouts]\nread = 1\nqueue = 0.2\n")
        with (
            running_gateway("--config", str(config)) as found,
            found.connect() as first,
            found.connect() as second,
        ):
            first.request("POST", "/first")
            assert runs.wait(20)
            head, _ = second.ask("POST", "/second")
            assert head.status == 503
            assert list(server_timing(head)) == OWN[:2]
            assert server_timing(head)["gw-queue"] >= 200
            head, _ = first.response()
            assert head.status == 504
            assert list(server_timing(head)) == OWN
            assert server_timing(head)["gw-first-byte"] >= 1000
            let_go.set()
    lines = log_lines(tmp_path / "g.log", 2)
    assert [line["status"] for line in lines] == [503, 504]
    assert lines[1]["milliseconds"]["first_byte"] >= 1000
    assert lines[1]["milliseconds"]["send"] is None


def test_a_reload_switches_it_for_a_kept_connection(tmp_path: Path) -> None:
    with fastcgi(tmp_path, mirror) as back:
        config = write(tmp_path, str(back.address), "")
        text = config.read_text()
        with running_gateway("--config", str(config)) as found, found.connect() as client:
            told = {}
            for number, (timing, trace) in enumerate(((1, 1), (1, 0), (0, 1), (0, 0), (1, 1)), 1):
                given = text if timing else text.replace("server_timing = true", "")
                config.write_text(given if trace else given.replace("traceparent = true", ""))
                if number > 1:
                    found.process.signal(signal.SIGHUP)
                    found.process.wait_for_stderr(f"configuration {number} read from")

                def is_switched(wanted: tuple[int, int] = (timing, trace)) -> bool:
                    params = params_of(client)
                    marks = ("HTTP_X_REQUEST_START" in params, "HTTP_TRACEPARENT" in params)
                    return marks == wanted

                wait_until(is_switched, f"timing is {timing} and tracing {trace}")
                told[number] = "Server-Timing" in client.ask("GET", "/")[0].headers
    assert told == {1: True, 2: True, 3: False, 4: False, 5: True}
