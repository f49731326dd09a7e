"""Bounds of single routes and requests, and answers that FastCGI and HTTP upstreams give alike."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainlab.transport import Address
from gateway.config import Route, parse_config
from tests.support.gateway import (
    FastCGIPeer,
    Gateway,
    RawClient,
    Scripted,
    fastcgi,
    running_gateway,
)

ANY = Address("127.0.0.1", 0)
OK = b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"POST %b HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"


def slow_if_asked(peer: FastCGIPeer) -> None:
    while (request := peer.request()) is not None:
        if request.params["PATH_INFO"].endswith("slow"):
            time.sleep(0.8)
        peer.answer(OK)


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a small body limit, one route with a larger and one with a smaller."""
    folder = tmp_path_factory.mktemp("routed")
    with fastcgi(folder, slow_if_asked) as back:
        config = folder / "g.toml"
        config.write_text(
            'listen = ["127.0.0.1:0"]\n[log]\naccess = "off"\n[limits]\nbody = 1000\n'
            f'[upstream.app]\nprotocol = "fastcgi"\naddresses = ["{back.address}"]\n'
            '[[route]]\nprefix = "/"\nupstream = "app"\n'
            '[[route]]\nprefix = "/large/"\nupstream = "app"\nbody = 100000\n'
            '[[route]]\nprefix = "/small/"\nupstream = "app"\nbody = 10\n'
            '[[route]]\nprefix = "/hasty/"\nupstream = "app"\n'
            "timeouts = { read = 0.2, body = 0.2 }\n"
        )
        with running_gateway("--config", str(config)) as found:
            yield found


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/", 1000, 200), ("/", 1001, 413), ("/large/", 100_000, 200), ("/large/", 100_001, 413),
        ("/small/", 10, 200), ("/small/", 11, 413),
    ],
)  # fmt: skip
def test_each_route_has_its_body_limit(routed: Gateway, path: str, size: int, status: int) -> None:
    with routed.connect() as client:
        head, _ = client.ask("POST", path, b"x" * size)
        assert head.status == status
    with routed.connect() as client:
        client.send(CHUNKED % path.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))
        assert client.response()[0].status == status
    with routed.connect() as client:  # what is announced too long is refused before it is sent
        fields = f"Host: t\r\nExpect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
        client.send(f"POST {path} HTTP/1.1\r\n{fields}".encode())
        assert client.socket.recv(12) == (b"HTTP/1.1 100" if status == 200 else b"HTTP/1.1 413")


def test_each_route_has_its_timeouts(routed: Gateway) -> None:
    assert routed.get("/slow")[0] == 200
    assert routed.get("/hasty/slow")[0] == 504
    routed.process.wait_for_stderr("sent no bytes of the response for 0.2 s")
    assert routed.get("/slow")[0] == 200  # on a connection that the hasty route may have used
    with routed.connect() as client:
        client.send(b"POST /hasty/ HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n123")
        assert client.read_to_end().startswith(b"HTTP/1.1 408 ")


def test_what_a_route_sets_is_in_the_configuration(tmp_path: Path) -> None:
    text = (
        'listen = ["127.0.0.1:80"]\n[upstream.a]\nprotocol = "http"\naddresses = ["127.0.0.1:1"]\n'
        '[limits]\nbody = 1000\n[[route]]\nupstream = "a"\n[[route]]\nprefix = "/large/"\n'
        f'upstream = "a"\nbody = 5000\n[route.timeouts]\nread = 300\n[[route]]\nprefix = "/f/"\n'
        f'root = "{tmp_path}"\n[[route]]\nprefix = "/none/"\nupstream = "a"\nbody = 0\n'
    )
    config = parse_config(text, "g")
    assert config.limits.body == 5000  # the most that any route allows
    assert config.routes == (
        Route("/large/", upstream="a", body=5000, timeouts=(("read", 300.0),)),
        Route("/none/", upstream="a", body=0),
        Route("/f/", root=tmp_path, body=1000),
        Route("/", upstream="a", body=1000),
    )


@pytest.mark.parametrize("chunk", [b"1\r\na\r\n", b"1;" + b"a" * 1000 + b"\r\na\r\n"])
def test_tiny_chunks_are_refused_before_they_cost_much(routed: Gateway, chunk: bytes) -> None:
    with routed.connect() as client:
        client.send(CHUNKED % b"/large/")
        with contextlib.suppress(OSError):
            for _ in range(20_000_000 // 65536):
                client.send(chunk * (65536 // len(chunk)))
        with contextlib.suppress(ConnectionResetError):
            assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    routed.process.wait_for_stderr("refused with 400: too many tiny chunks")


# The same answer over FastCGI and over HTTP


@contextlib.contextmanager
def answering(kind: str, folder: Path, status: str, fields: bytes) -> Iterator[RawClient]:
    """A client of a gateway whose upstream of that kind always gives this answer."""
    head = fields + b"Content-Length: 2\r\n\r\nok"

    def say_http(connection: socket.socket) -> None:
        while b"\r\n\r\n" in connection.recv(65536):
            connection.sendall(f"HTTP/1.1 {status}\r\n".encode() + head)

    def say_fastcgi(peer: FastCGIPeer) -> None:
        while peer.request() is not None:
            peer.answer(f"Status: {status}\r\n".encode() + head)

    back = Scripted(ANY, say_http) if kind == "http" else fastcgi(folder, say_fastcgi)
    with (
        back,
        running_gateway(f"--{kind}", str(back.address)) as found,
        found.connect() as client,
    ):
        yield client


@pytest.mark.parametrize("kind", ["http", "fastcgi"])
def test_many_response_fields_are_forwarded(tmp_path: Path, kind: str) -> None:
    fields = b"".join(b"Set-Cookie: c%d=1\r\n" % number for number in range(300))
    with answering(kind, tmp_path, "200 OK", fields) as client:
        client.request("GET", "/")
        answer = client.read_until(b"ok")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.lower().count(b"set-cookie: ") == 300


@pytest.mark.parametrize("kind", ["http", "fastcgi"])
def test_a_426_says_what_to_upgrade_to(tmp_path: Path, kind: str) -> None:
    fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    with answering(kind, tmp_path, "426 Upgrade Required", fields) as client:
        for _ in range(2):  # the connection is kept
            head, body = client.ask("GET", "/")
            assert (head.status, body) == (426, b"ok")
            assert head.headers["Upgrade"] == "websocket"
            assert head.headers["Connection"] == "upgrade"
    with answering(kind, tmp_path / "..", "200 OK", fields) as client:
        assert client.ask("GET", "/")[0].headers["Upgrade"] is None


def test_a_status_twice_is_the_first(tmp_path: Path) -> None:
    fields = b"Status: 500 Never\r\n"
    with answering("fastcgi", tmp_path, "201 Made", fields) as client:
        head, body = client.ask("GET", "/")
        assert (head.status, head.reason, body) == (201, "Made", b"ok")
