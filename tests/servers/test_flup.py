"""flup's servers as processes: they answer, hold the contract's ground, stop, leave nothing."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainlab.transport import Address
from servers.common.registry import SPECS
from servers.common.stopping import GRACE
from tests.support.fastcgi import Client
from tests.support.processes import Process, child_pids, is_alive, wait_until

pytestmark = [
    pytest.mark.skipif(
        SPECS["flup-fork"].unavailable() is not None, reason=str(SPECS["flup-fork"].unavailable())
    )
]

BOTH = ("flup-fork", "flup-thread")
STOPS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)


@contextlib.contextmanager
def running(name: str, listen: str, workers: int = 2) -> Iterator[tuple[Process, Address]]:
    command = [sys.executable, "-m", "servers", name, "--listen", listen]
    with Process([*command, "--workers", str(workers)]) as server:
        yield server, server.wait_until_listening()


@pytest.fixture(scope="module", params=BOTH)
def shared(request: pytest.FixtureRequest) -> Iterator[tuple[str, Address]]:
    with running(request.param, "127.0.0.1:0", workers=3) as (_, address):
        yield request.param, address


@pytest.fixture
def client(shared: tuple[str, Address]) -> Iterator[Client]:
    with Client(shared[1]) as connection:
        yield connection


def test_hello(client: Client) -> None:
    for _ in range(3):
        answer = client.request("/hello")
        assert (answer.status, answer.body) == (200, b"Hello, world!\n")
        assert answer.headers["content-type"] == "text/plain"
        assert answer.headers["content-length"] == "14"


def test_whoami(shared: tuple[str, Address], client: Client) -> None:
    who = json.loads(client.request("/whoami?x", HTTP_X_TEST="1").body)
    assert who["architecture"] == shared[0]
    assert who["client"] == "127.0.0.1"
    assert who["headers"] == {"host": "localhost", "x-test": "1"}
    again = json.loads(client.request("/whoami").body)
    assert (again["pid"], again["thread"]) == (who["pid"], who["thread"])
    assert again["requests"] > who["requests"]


@pytest.mark.parametrize("size", [0, 1, 8192, 1_000_000])
def test_echo(client: Client, size: int) -> None:
    body = os.urandom(size)
    answer = client.request("/echo", "POST", body, CONTENT_TYPE="x/y")
    assert (answer.status, answer.headers["content-type"]) == (200, "x/y")
    assert answer.body == body


def test_content_without_a_length(client: Client) -> None:
    answer = client.request("/echo", "POST", b"STDIN has an end of its own", CONTENT_LENGTH="")
    assert answer.body == b"STDIN has an end of its own"


def test_bytes_and_file(client: Client) -> None:
    assert client.request("/bytes?n=300000").body == (bytes(range(256)) * 1172)[:300_000]
    assert client.request("/file/pattern.bin").body == bytes(range(256)) * 400
    part = client.request("/file/pattern.bin", HTTP_RANGE="bytes=5-6")
    assert (part.status, part.body) == (206, b"\x05\x06")


def test_stream_comes_as_it_comes(client: Client) -> None:
    client.start("/stream?n=2&ms=400")
    gathered = client.read_until_stdout(b"line 1\n")
    begin = time.monotonic()
    assert b"line 2\n" not in gathered
    client.read_until_stdout(b"line 2\n")
    assert time.monotonic() - begin >= 0.2
    assert client.finish().end is not None


def test_without_keep_conn_the_connection_ends(client: Client) -> None:
    assert client.request("/hello", keep_conn=False).status == 200
    assert client.closed_by_peer


def test_a_peer_that_leaves_takes_nobody_with_it(shared: tuple[str, Address]) -> None:
    for _ in range(6):
        with Client(shared[1]) as leaver:
            leaver.start("/bytes?n=5000000")
            leaver.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
            )  # close resets
    with Client(shared[1]) as client:
        assert client.request("/hello").status == 200


@pytest.mark.parametrize("name", BOTH)
def test_more_connections_than_workers_wait_for_their_turn(name: str, tmp_path: Path) -> None:
    """A connection that is kept holds its worker; the others wait in the backlog, none is cut."""
    listen = f"unix:{tmp_path}/s"
    with running(name, listen) as (_, address), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(address)) for _ in range(5)]
        for client in clients:
            client.start("/hello")
        for client in clients:  # served in the order in which they connected
            assert client.finish().status == 200
            client.close()


def test_fork_keeps_its_number_of_children(tmp_path: Path) -> None:
    with running("flup-fork", f"unix:{tmp_path}/s", workers=3) as (server, address):
        wait_until(lambda: len(server.children) == 3, "three children are there")
        victim = server.children.pop()
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda: len(server.children) == 3 and victim not in server.children, "it is replaced"
        )
        with Client(address) as client:
            assert client.request("/hello").status == 200


def test_thread_is_one_process(tmp_path: Path) -> None:
    with running("flup-thread", f"unix:{tmp_path}/s", workers=3) as (server, _):
        assert not server.children
        threads = Path(f"/proc/{server.pid}/task")
        wait_until(lambda: len(list(threads.iterdir())) == 4, "three threads and the first")


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("name", BOTH)
def test_stop(name: str, number: signal.Signals, tmp_path: Path) -> None:
    """Idle, and with a kept connection."""
    with running(name, f"unix:{tmp_path}/s") as (server, address):
        with Client(address) as kept:
            assert kept.request("/hello").status == 200
            children = server.children
            server.signal(number)
            assert server.wait(GRACE / 2) == 0
        assert not any(map(is_alive, children))
        assert not Path(address.path).exists()


@pytest.mark.long
@pytest.mark.parametrize("name", BOTH)
def test_stop_cuts_what_would_take_a_minute(name: str, tmp_path: Path) -> None:
    with running(name, f"unix:{tmp_path}/s") as (server, address), Client(address) as busy:
        busy.start("/stream?n=2&ms=60000")
        busy.read_until_stdout(b"line 1\n")
        children = server.children
        server.signal(signal.SIGTERM)
        assert server.wait(GRACE + 15) == 0
        assert not any(map(is_alive, children))


@pytest.mark.parametrize("name", BOTH)
def test_stop_lets_finish_what_takes_little(name: str, tmp_path: Path) -> None:
    with running(name, f"unix:{tmp_path}/s") as (server, address), Client(address) as client:
        client.start("/stream?n=3&ms=100")
        client.read_until_stdout(b"line 1\n")
        server.signal(signal.SIGQUIT)
        answer = client.finish()
        assert answer.stdout.endswith(b"line 2\nline 3\n")
        assert answer.end is not None
        assert server.wait() == 0


def test_children_end_with_a_master_that_is_killed(tmp_path: Path) -> None:
    with running("flup-fork", f"unix:{tmp_path}/s", workers=3) as (server, address):
        wait_until(lambda: len(server.children) == 3, "three children are there")
        with Client(address) as kept, Client(address) as busy:
            assert kept.request("/hello").status == 200
            busy.start("/wait?ms=60000")
            children = child_pids(server.pid)
            server.signal(signal.SIGKILL)
            server.wait()
            wait_until(lambda: not any(map(is_alive, children)), "the children are gone")
