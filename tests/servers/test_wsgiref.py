"""wsgiref over HTTP: what the contract's suite, which runs against it, does not ask."""

import contextlib
import http.client
import json
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainlab.transport import Address
from servers.app.contract import fetch
from servers.common.stopping import GRACE
from tests.support.processes import Process

OVER_LIMIT = (64 << 20) + 1


@contextlib.contextmanager
def running(listen: str) -> Iterator[tuple[Process, Address]]:
    with Process([sys.executable, "-m", "servers", "wsgiref", "--listen", listen]) as server:
        yield server, server.wait_until_listening()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Process, Address]]:
    with running("127.0.0.1:0") as process:
        yield process


@pytest.fixture
def address(server: tuple[Process, Address]) -> Address:
    return server[1]


def connect(address: Address) -> socket.socket:
    connection = socket.socket(address.family, socket.SOCK_STREAM)
    connection.settimeout(30)
    connection.connect(address.sockaddr)
    return connection


def send(address: Address, request: bytes) -> bytes:
    """Return all that comes back until the connection ends."""
    with connect(address) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_an_answer_ends_its_connection(address: Address) -> None:
    answer = send(address, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /json HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nHello, world!\n")


def test_whoami(address: Address) -> None:
    answer = send(
        address,
        b"GET /whoami HTTP/1.0\r\nX-Twice: 1\r\nX-Twice: 2\r\nX_Under: 1\r\nProxy: evil\r\n\r\n",
    )
    who = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert who["architecture"] == "wsgiref"
    assert (who["http_version"], who["client"]) == ("HTTP/1.0", "127.0.0.1")
    assert who["headers"] == {"x-twice": "1, 2"}


def test_unix_socket(tmp_path: Path) -> None:
    with running(f"unix:{tmp_path}/s") as (_, address):
        answer = send(address, b"GET /whoami HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b'"client":"unix:"' in answer


def test_no_length_is_made_up(address: Address) -> None:
    for request in (b"HEAD /stream?n=1&ms=0", b"GET /stream?n=0&ms=0"):
        head = send(address, request + b" HTTP/1.1\r\nHost: x\r\n\r\n").lower()
        assert head.startswith(b"http/1.0 200")
        assert (b"content-length" in head) == request.startswith(b"GET")  # a GET of nothing has 0
    fresh = send(address, b"GET /file/hello.txt HTTP/1.1\r\nIf-None-Match: *\r\n\r\n").lower()
    assert fresh.startswith(b"http/1.0 304")
    assert b"content-length" not in fresh


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Content-Length: 1\r\nTransfer-Encoding: chunked", b"400"),
        (b"Content-Length: 1\r\nContent-Length: 2", b"400"),
        (b"Content-Length: -1", b"400"),
        (b"Content-Length: 1_0", b"400"),
        (b"Content-Length: 9999999999999999999", b"400"),
        (b"Transfer-Encoding: gzip", b"501"),
        (b"Transfer-Encoding: gzip, chunked", b"501"),
    ],
)
def test_framing_refused(address: Address, fields: bytes, status: bytes) -> None:
    answer = send(address, b"POST /echo HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n\r\n")
    assert answer.split(b" ")[1] == status


def test_no_request_at_all(server: tuple[Process, Address]) -> None:
    process, address = server
    connect(address).close()
    assert b"Error code: 400" in send(address, b"rubbish and more of it\r\n\r\n")
    with connect(address) as leaver:
        leaver.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
    with connect(address) as leaver:
        leaver.sendall(b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nrubbish\r\n")
        assert leaver.recv(100) == b""  # broken framing: nothing to answer
    assert fetch(f"http://{address}", "/hello").status == 200
    assert "Traceback" not in process.stderr


def test_a_refusal_reaches_a_client_that_sends_on(address: Address) -> None:
    with connect(address) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % OVER_LIMIT)
        for _ in range(16):
            connection.sendall(bytes(1 << 20))
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            assert response.status == 413
            assert response.read().startswith(b"the content is too large")


def test_slow_clients_block_nobody(address: Address) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            slow = stack.enter_context(connect(address))
            slow.sendall(b"GET /hello HT")
        waiting = stack.enter_context(connect(address))
        waiting.sendall(b"GET /wait?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert fetch(f"http://{address}", "/hello").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_stop(number: signal.Signals, tmp_path: Path) -> None:
    with running(f"unix:{tmp_path}/s") as (process, address):
        process.signal(number)
        assert process.wait(GRACE / 2) == 0
        assert not Path(address.path).exists()
        assert "Traceback" not in process.stderr


@pytest.mark.long
def test_stop_cuts_what_would_take_a_minute(tmp_path: Path) -> None:
    with running(f"unix:{tmp_path}/s") as (process, address):
        with connect(address) as slow, connect(address) as waiting:
            slow.sendall(b"GET /hello HT")
            waiting.sendall(b"GET /stream?n=2&ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n")
            waiting.recv(100)
            process.signal(signal.SIGTERM)
            assert process.wait(GRACE + 15) == 0
        assert "Traceback" not in process.stderr


def test_stop_lets_finish_what_takes_little(tmp_path: Path) -> None:
    with running(f"unix:{tmp_path}/s") as (process, address), connect(address) as client:
        client.sendall(b"GET /stream?n=3&ms=100 HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.recv(65536)
        process.signal(signal.SIGQUIT)
        while data := client.recv(65536):
            answer += data
        assert answer.endswith(b"line 1\nline 2\nline 3\n")
        assert process.wait() == 0
