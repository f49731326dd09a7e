"""What a client may expect of the gateway, with a real worker behind it."""

import http.client
import json
import re
import threading
from pathlib import Path

import pytest

from chainlab.transport import Address
from tests.support.gateway import (
    FastCGIPeer,
    Gateway,
    RawClient,
    Scripted,
    fastcgi,
    running_gateway,
)
from tests.support.processes import child_pids, peak_kib, running_worker, wait_until

HELLO = b"Hello, world!\n"
MIB = 1 << 20


def test_requests_on_one_connection(client: RawClient) -> None:
    for _ in range(3):
        head, body = client.ask("GET", "/hello")
        assert (head.status, body) == (200, HELLO)
        assert head.headers["Server"] == "chain-gateway"
        assert re.fullmatch(r"[0-9a-f]{24}", head.headers["X-Request-Id"])


def test_request_ids_differ_and_a_clients_own_is_kept(client: RawClient) -> None:
    ids = {client.ask("GET", "/hello")[0].headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3
    head, body = client.ask("GET", "/whoami", X_Request_Id="mine.1")
    assert head.headers["X-Request-Id"] == "mine.1"
    assert json.loads(body)["headers"]["x-request-id"] == "mine.1"
    head, _ = client.ask("GET", "/hello", X_Request_Id="not one token")
    assert re.fullmatch(r"[0-9a-f]{24}", head.headers["X-Request-Id"])


def test_pipelined_requests_are_answered_in_order(client: RawClient) -> None:
    paths = ["/wait?ms=30", "/hello", "/bytes?n=100000", "/json", "/nothing", "/hello"]
    client.send(b"".join(f"GET {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode() for path in paths))
    stream = client.socket.makefile("rb")
    bodies = []
    for _ in paths:
        status = stream.readline()
        length = 0
        while (line := stream.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        bodies.append((status.split()[1], stream.read(length)))
    stream.close()
    assert [status for status, _ in bodies] == [b"200", b"200", b"200", b"200", b"404", b"200"]
    assert bodies[0][1] == b"waited 30 ms\n"
    assert bodies[2][1] == (bytes(range(256)) * 391)[:100000]
    assert bodies[3][1] == b'{"message":"Hello, world!"}'


def test_a_pipelined_flood_without_reading_is_bounded_and_answered(gateway: Gateway) -> None:
    count = 300
    with gateway.connect() as client:
        sender = threading.Thread(
            target=client.send, args=(b"GET /bytes?n=20000 HTTP/1.1\r\nHost: t\r\n\r\n" * count,)
        )
        sender.start()
        total = 0
        while total < count * 20000:
            data = client.socket.recv(65536)
            assert data
            total += len(data)
        sender.join()


def test_head_has_the_fields_and_no_body(client: RawClient) -> None:
    head, body = client.ask("HEAD", "/hello")
    assert head.headers["Content-Length"] == "14"
    assert body == b""
    head, body = client.ask("HEAD", "/stream?n=3&ms=1")
    assert "Content-Length" not in head.headers
    assert client.ask("GET", "/hello")[1] == HELLO  # the connection goes on


def test_a_body_by_length_and_by_chunks(client: RawClient) -> None:
    body = bytes(range(256)) * 4000
    assert client.ask("POST", "/echo", body)[1] == body
    client.send(b"POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
    for at in range(0, len(body), 50_000):
        piece = body[at : at + 50_000]
        client.send(b"%x;note=1\r\n%b\r\n" % (len(piece), piece))
    client.send(b"0\r\nTrailer: dropped\r\n\r\n")
    assert client.response()[1] == body
    client.send(b"POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    head, got = client.response()
    assert (head.status, got) == (200, b"")


def test_expect_100_continue(client: RawClient) -> None:
    fields = b"Host: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    client.send(b"POST /echo HTTP/1.1\r\n" + fields)
    assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"12345")
    assert client.response()[1] == b"12345"


def test_http_1_0_with_and_without_keep_alive(gateway: Gateway) -> None:
    with gateway.connect() as client:
        client.send(b"GET /hello HTTP/1.0\r\n\r\n")
        answer = client.read_to_end()
        assert answer.endswith(b"\r\n\r\n" + HELLO)
        assert b"Connection: close" in answer
    with gateway.connect() as client:
        client.send(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert client.response()[1] == HELLO
        # Of unknown length, and too long for one read: what comes whole at once is given a length.
        lines = 8_000
        client.send(b"GET /stream?n=%d&ms=0 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" % lines)
        head, _, content = client.read_to_end().partition(b"\r\n\r\n")
        assert content == b"".join(b"line %d\n" % line for line in range(1, lines + 1))
        assert b"Connection: close" in head
        assert b"chunked" not in head


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /x HTTP/1.1\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n", 413),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\n\r\n", 417),
    ],
)  # fmt: skip
def test_what_is_refused_gets_a_status_and_the_connection_ends(
    client: RawClient, request_bytes: bytes, status: int
) -> None:
    client.send(request_bytes)
    answer = client.read_to_end()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"Connection: close" in answer


def test_options_and_trace_are_the_gateways_to_answer(client: RawClient) -> None:
    client.send(b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n")
    head, _ = client.response("OPTIONS")
    assert head.status == 204
    assert "GET" in head.headers["Allow"]
    assert client.ask("TRACE", "/hello")[0].status == 405


def test_what_the_application_is_told(client: RawClient) -> None:
    client.send(
        b"GET /whoami?a=b%20c HTTP/1.1\r\nHost: example.org:81\r\nProxy: http://evil\r\n"
        b"X_Forged: 1\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"
        b"Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nTE: trailers\r\nCookie: a=1\r\n"
        b"Cookie: b=2\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n"
    )
    told = json.loads(client.response()[1])
    fields = told["headers"]
    assert told["http_version"] == "HTTP/1.1"
    assert told["client"] == "127.0.0.1"
    assert fields["host"] == "example.org:81"
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert fields["x-forwarded-host"] == "example.org:81"
    assert fields["cookie"] == "a=1; b=2"
    assert fields["x-two"] == "1, 2"
    assert not {"proxy", "x-forged", "x_forged", "x-hop", "te", "connection"} & set(fields)


def test_a_response_streams_before_it_ends(tmp_path: Path) -> None:
    go_on = threading.Event()

    def script(peer: FastCGIPeer) -> None:
        if peer.request() is not None:
            peer.stdout(b"Content-Type: text/plain\r\n\r\nfirst")
            assert go_on.wait(20)
            peer.stdout(b" second")
            peer.end()

    with (
        fastcgi(tmp_path, script) as back,
        running_gateway("--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        client.request("GET", "/")
        client.read_until(b"first")
        go_on.set()
        assert b" second" in client.read_until(b"0\r\n\r\n")


def test_a_request_body_streams_before_it_ends(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def script(peer: FastCGIPeer) -> None:
        if peer.event() is None:
            return
        while (event := peer.event()) is not None:
            seen.append(getattr(event, "data", b""))
            if not seen[-1]:
                peer.answer(b"Status: 200 OK\r\n\r\n" + b"".join(seen))

    with (
        fastcgi(tmp_path, script) as back,
        running_gateway("--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n12345")
        wait_until(lambda: b"".join(seen) == b"12345", "the first half is there")
        client.send(b"67890")
        assert client.response()[1] == b"1234567890"


def test_memory_is_bounded_whatever_the_body(tmp_path: Path) -> None:
    """64 MiB each way, the response read slowly at first."""
    bind = f"unix:{tmp_path}/w.sock"
    with (
        running_worker("servers.app.wsgi:application", "--workers", "1", bind=bind),
        running_gateway("--fastcgi", bind) as found,
        found.connect() as client,
    ):
        (serving,) = child_pids(found.process.pid)
        client.ask("GET", "/bytes?n=200000")
        before = peak_kib(serving)
        client.request("GET", f"/bytes?n={64 * MIB}")
        for _ in range(50):  # slow: the gateway has time to run ahead, if it does
            client.socket.recv(4096)
            threading.Event().wait(0.005)
        total = 50 * 4096
        while total < 64 * MIB:
            total += len(client.socket.recv(1 << 20))
        client.close()
        with found.connect() as other:
            sent = b"x" * MIB
            other.send(b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % (16 * MIB))
            for _ in range(16):
                other.send(sent)
            assert len(other.response()[1]) == 16 * MIB
        assert peak_kib(serving) - before < 4096


def test_an_http_upstream_is_told_via_and_gets_no_hop_by_hop_fields() -> None:
    received: list[bytes] = []

    def script(connection: object) -> None:
        import socket as module

        assert isinstance(connection, module.socket)
        while b"\r\n\r\n" in (data := connection.recv(65536)):
            received.append(data)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: 5\r\n\r\nok")

    with (
        Scripted(Address("127.0.0.1", 0), script) as back,
        running_gateway("--http", str(back.address)) as found,
        found.connect() as client,
    ):
        for _ in range(2):
            head, body = client.ask("GET", "/a%20b?c", Connection="close, X-Hop", X_Hop="1")
            assert (head.status, body) == (200, b"ok")
            assert "Keep-Alive" not in head.headers
            client.close()
            client = found.connect()
        client.close()
        assert back.accepted == 1  # the connection was kept
    text = received[0].decode()
    assert text.startswith("GET /a%20b?c HTTP/1.1\r\nHost: test\r\n")
    assert "Via: 1.1 chain-gateway\r\n" in text
    assert "X-Forwarded-For: 127.0.0.1\r\n" in text
    assert "x-hop" not in text.lower()


def test_incomplete_read_is_what_clients_see_of_a_cut(client: RawClient) -> None:
    """The instrument of the fault tests works: a whole response raises nothing."""
    client.request("GET", "/stream?n=3&ms=1")
    try:
        assert client.response()[1] == b"line 1\nline 2\nline 3\n"
    except http.client.IncompleteRead:
        pytest.fail("a whole response was taken for a cut one")
