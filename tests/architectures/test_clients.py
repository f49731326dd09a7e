"""Clients that are slow, gone, half gone or greedy: the next one is served all the same."""

import contextlib
import socket
import struct
import time
from collections.abc import Callable

import pytest

from servers.common.registry import Spec
from tests.support.architectures import HELLO, HTTP, each, running
from tests.support.gateway import RawClient
from tests.support.processes import wait_until

PATIENCE = 10.0  # seconds that our servers give a client
RESET = struct.pack("ii", 1, 0)
MIB = 1 << 20


def reset(client: RawClient) -> None:
    """Close with RST."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


def before_asking(client: RawClient) -> None:
    del client


def in_the_head(client: RawClient) -> None:
    client.send(b"GET /hello HTTP/1.1\r\nHo")


def in_the_content(client: RawClient) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nabc")


def while_it_waits(client: RawClient) -> None:
    client.send(b"GET /wait?ms=300 HTTP/1.1\r\nHost: test\r\n\r\n")


def in_the_answer(client: RawClient) -> None:
    client.send(b"GET /bytes?n=30000000 HTTP/1.1\r\nHost: test\r\n\r\n")
    client.read_until(b"\r\n\r\n")


def in_a_stream(client: RawClient) -> None:
    client.send(b"GET /stream?n=50&ms=20 HTTP/1.1\r\nHost: test\r\n\r\n")
    client.read_until(b"line 2\n")


def in_a_file(client: RawClient) -> None:
    client.send(b"GET /file/pattern.bin HTTP/1.1\r\nHost: test\r\n\r\n" * 60)
    client.read_until(b"\r\n\r\n")


def after_the_answer(client: RawClient) -> None:
    client.request("GET", "/hello")
    assert client.response()[1] == HELLO


MOMENTS = [
    before_asking, in_the_head, in_the_content, while_it_waits, in_the_answer, in_a_stream,
    in_a_file, after_the_answer,
]  # fmt: skip


@each
def test_a_client_that_leaves_at_any_moment_costs_nothing(spec: Spec) -> None:
    with running(spec, workers=2) as server:
        assert server.greets()
        before = server.wait_until_steady()
        for moment in MOMENTS:
            for leave in (reset, RawClient.close):
                client = server.connect()
                moment(client)
                leave(client)
            assert server.greets(), moment
        slack = 0 if spec.family != "third-party" else 2
        wait_until(lambda: server.descriptors <= before + slack, "its descriptors are free again")


@each
def test_half_closed_is_not_gone(spec: Spec) -> None:
    with running(spec) as server, server.connect() as client:
        client.request("GET", "/wait?ms=100", Connection="close")
        client.socket.shutdown(socket.SHUT_WR)
        head, body = client.response()
        assert (head.status, body) == (200, b"waited 100 ms\n")


SLOW: dict[str, Callable[[RawClient], None]] = {
    "head": in_the_head,
    "content": in_the_content,
    "reading": in_the_answer,
}


def wait_for_the_end(client: RawClient, what: str) -> bytes:
    """Read what comes until the server closes or resets."""
    gathered = b""
    try:
        while data := client.socket.recv(65536):
            gathered += data
    except ConnectionResetError:
        pass
    except TimeoutError:
        pytest.fail(f"{what} is still connected after {len(gathered)} bytes")
    return gathered


@pytest.mark.long
def test_slow_clients_are_timed_out_while_others_are_served() -> None:
    """All architectures at one time, because it takes each of them ten seconds."""
    with contextlib.ExitStack() as stack:
        begun = []
        for spec in HTTP:
            if spec.unavailable() or "timeouts" in spec.lacks:
                continue
            server = stack.enter_context(running(spec, workers=4))
            crowd = SLOW if spec.concurrency != "one" else {"head": in_the_head}
            for how, slow in crowd.items():
                client = stack.enter_context(server.connect())
                client.socket.settimeout(3 * PATIENCE)
                slow(client)
                begun.append((spec, how, client, time.monotonic()))
            if spec.concurrency != "one":
                assert server.greets(), spec.name
        assert len(begun) > 20
        for spec, how, client, since in begun:
            if how == "reading":
                time.sleep(max(0.0, since + PATIENCE + 2 - time.monotonic()))
            what = f"{spec.name}: a client slow in {how}"
            said = wait_for_the_end(client, what)
            if how == "reading":
                assert len(said) < 30_000_000, what
            elif said:
                assert said.startswith((b"HTTP/1.1 408", b"HTTP/1.0 408")), (what, said)
            assert time.monotonic() - since >= PATIENCE / 2, what


@each
def test_what_a_client_does_not_read_is_not_kept_in_memory(spec: Spec) -> None:
    with running(spec, workers=2) as server:
        assert server.greets()
        before = server.resident_bytes
        with server.connect() as client:
            client.send(b"GET /bytes?n=67108864 HTTP/1.1\r\nHost: test\r\n\r\n")
            client.read_until(b"\r\n\r\n")
            if spec.concurrency != "one":
                assert server.greets()  # whatever it was going to buffer, it has by now
            assert server.resident_bytes - before < 24 * MIB


@each
def test_an_endless_head_is_refused(spec: Spec) -> None:
    with running(spec) as server:
        with server.connect() as client:
            client.send(b"GET /hello HTTP/1.1\r\nHost: test\r\n")
            said = b""
            with contextlib.suppress(ConnectionError):
                for number in range(40_000):
                    client.send(b"X-Field-%d: %s\r\n" % (number, b"x" * 100))
            with contextlib.suppress(ConnectionError):
                said = client.read_to_end()
            assert not said or said[9:12] in (b"400", b"431", b"413"), said[:100]
        assert server.greets()
