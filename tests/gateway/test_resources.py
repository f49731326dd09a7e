"""A resource of this machine that runs out costs the requests that need it, and nothing else."""

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.gateway import Gateway, fastcgi, running_gateway, serve_always
from tests.support.processes import child_pids, wait_until

OK = b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"1000\r\n" + b"x" * 4096 + b"\r\n"


@contextmanager
def limited(name: int, value: int) -> Iterator[None]:
    """Let programs that start inside the block have a lower limit."""
    before = resource.getrlimit(name)
    resource.setrlimit(name, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(name, before)


@contextmanager
def gateway_with(limit: int, value: int, *options: str) -> Iterator[Gateway]:
    with ExitStack() as stack:
        with limited(limit, value):
            found = stack.enter_context(running_gateway(*options))
        yield found


def test_a_body_that_the_disk_cannot_take_costs_one_request(tmp_path: Path) -> None:
    with (
        fastcgi(tmp_path, serve_always(OK)) as back,
        gateway_with(resource.RLIMIT_FSIZE, 100_000, "--fastcgi", str(back.address)) as found,
        found.connect() as innocent,
    ):
        assert innocent.ask("GET", "/")[0].status == 200
        before = child_pids(found.process.pid)
        for _ in range(3):
            with found.connect() as client:
                client.send(CHUNKED + CHUNK * 60)
                head, _ = client.response()
                assert head.status == 507
                assert head.headers["Connection"] == "close"
        found.process.wait_for_stderr("cannot buffer the request body: File too large", times=3)
        assert innocent.ask("GET", "/")[0].status == 200
        assert child_pids(found.process.pid) == before
        assert "bug" not in found.process.stderr


def test_a_pipelined_body_that_the_disk_cannot_take_ends_only_its_own_request(
    tmp_path: Path,
) -> None:
    """The request before it is answered; what fails is the second one, not the first."""
    with (
        fastcgi(tmp_path, serve_always(OK)) as back,
        gateway_with(resource.RLIMIT_FSIZE, 100_000, "--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" + CHUNKED + CHUNK * 60)
        received = client.read_until(b"HTTP/1.1 507 ")
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_response_that_the_disk_cannot_take_waits_for_its_reader(tmp_path: Path) -> None:
    size = 20_000_000
    answer = b"Content-Type: text/plain\r\n\r\n" + b"x" * size
    with (
        fastcgi(tmp_path, serve_always(answer)) as back,
        gateway_with(resource.RLIMIT_FSIZE, 100_000, "--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        client.request("GET", "/")
        select.select([client.socket], [], [])
        assert found.get("/")[0] == 200
        assert client.response()[1] == b"x" * size
        assert "bug" not in found.process.stderr


def test_bodies_share_a_bound(tmp_path: Path) -> None:
    with fastcgi(tmp_path, serve_always(OK)) as back:
        config = tmp_path / "g.toml"
        config.write_text(
            f'listen = ["127.0.0.1:0"]\n[log]\naccess = "off"\n[limits]\nspool = 300000\n'
            f'[upstream.app]\nprotocol = "fastcgi"\naddresses = ["{back.address}"]\n'
        )
        with running_gateway("--config", str(config)) as found, ExitStack() as stack:
            first, second = (stack.enter_context(found.connect()) for _ in range(2))
            first.send(CHUNKED + CHUNK * 50)
            second.send(CHUNKED + CHUNK * 50)
            ready, _, _ = select.select([first.socket, second.socket], [], [], 20)
            (refused,) = ready
            loser, winner = (first, second) if refused is first.socket else (second, first)
            assert loser.response()[0].status == 503
            winner.send(b"0\r\n\r\n")
            assert winner.response()[0].status == 200
            with found.connect() as third:  # the space is free again
                third.send(CHUNKED + CHUNK * 50 + b"0\r\n\r\n")
                assert third.response()[0].status == 200


def test_a_missing_descriptor_is_not_the_back_ends_fault(tmp_path: Path) -> None:
    """40 descriptors: clients take most of them, upstream connections lack the rest."""
    with (
        fastcgi(tmp_path, serve_always(OK)) as back,
        gateway_with(resource.RLIMIT_NOFILE, 40, "--fastcgi", str(back.address)) as found,
    ):
        host = found.address.host, found.address.port
        crowd = [socket.create_connection(host) for _ in range(60)]
        statuses = set()
        for member in crowd:
            member.settimeout(20)
            member.sendall(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        for member in crowd:
            statuses.add(member.recv(65536)[:12])
            member.close()
        assert statuses <= {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        wait_until(lambda: found.get("/")[0] == 200, "everything is served again")
