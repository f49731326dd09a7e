"""The outside servers as processes: they answer, finish what runs when stopped, leave nothing."""

import contextlib
import ctypes.util
import importlib.util
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from chainlab.transport import Address
from servers.common.registry import SPECS
from tests.support import fastcgi
from tests.support.gateway import RawClient
from tests.support.processes import Process, is_alive, wait_until


def need(name: str) -> pytest.MarkDecorator:
    reason = SPECS[name].unavailable()
    return pytest.mark.skipif(reason is not None, reason=f"{name}: {reason}")


def each(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", [pytest.param(name, marks=need(name)) for name in names])


ALL = each("gunicorn", "bjoern", "uwsgi", "libfcgi")


@contextlib.contextmanager
def running(
    name: str,
    listen: str,
    workers: int = 2,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[Process, Address]]:
    command = [sys.executable, "-m", "servers", name, "--listen", listen]
    command += ["--workers", str(workers)]
    with Process(command, cwd=cwd, environment=environment) as server:
        address = server.wait_until_listening()
        if name == "uwsgi":  # before this it forgets that it was told to stop, and is killed
            server.wait_for_stderr("(master-start)...")
        yield server, address


def family(pid: int) -> set[int]:
    """Return all that descends from `pid`."""
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}


def ask(name: str, address: Address, path: str) -> tuple[int, bytes]:
    if SPECS[name].protocol == "http":
        with RawClient(address) as client:
            head, body = client.ask("GET", path)
            return head.status, body
    with fastcgi.Client(address) as responder:
        answer = responder.request(path)
        return answer.status, answer.body


class Stream:
    """A request whose answer takes half a second between two lines."""

    PATH = "/stream?n=2&ms=500"

    def __init__(self, name: str, address: Address) -> None:
        self._http = RawClient(address) if SPECS[name].protocol == "http" else None
        self._fastcgi = None if self._http else fastcgi.Client(address)

    def begin(self) -> None:
        """Return when the first line has come, so that the request runs."""
        if self._http:
            self._http.request("GET", self.PATH)
            self._http.read_until(b"line 1\n")
        elif self._fastcgi:
            self._fastcgi.start(self.PATH)
            self._fastcgi.read_until_stdout(b"line 1\n")

    def finish(self) -> None:
        """Read the rest; it must come, and the answer must be whole."""
        if self._http:
            rest = self._http.read_to_end()
            assert b"line 2\n" in rest
            assert rest.endswith(b"0\r\n\r\n")
        elif self._fastcgi:
            answer = self._fastcgi.finish()
            assert answer.stdout.endswith(b"line 2\n")
            assert answer.end is not None

    def close(self) -> None:
        for client in (self._http, self._fastcgi):
            if client:
                client.close()


@ALL
@pytest.mark.parametrize("place", ["tcp", "unix"])
def test_serves(name: str, place: str, tmp_path: Path) -> None:
    listen = "127.0.0.1:0" if place == "tcp" else f"unix:{tmp_path}/s"
    with running(name, listen) as (server, address):
        status, body = ask(name, address, "/whoami")
        who = json.loads(body)
        assert (status, who["architecture"]) == (200, name)
        assert who["pid"] in family(server.pid)
        told = (
            SPECS[name].protocol == "fastcgi" or place == "tcp"
        )  # FastCGI's client is the gateway's
        assert who["client"] == ("127.0.0.1" if told else "unix:")


@ALL
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_a_stop_lets_finish_what_runs(name: str, number: signal.Signals, tmp_path: Path) -> None:
    with (
        running(name, f"unix:{tmp_path}/s") as (server, address),
        contextlib.closing(Stream(name, address)) as stream,
    ):
        stream.begin()
        started = family(server.pid)
        server.signal(number)
        stream.finish()
        assert server.wait() == 0, server.stderr
        assert not any(map(is_alive, started))
        assert not Path(address.path).exists()


@ALL
def test_nothing_outlives_a_kill(name: str, tmp_path: Path) -> None:
    with running(name, f"unix:{tmp_path}/s") as (server, address):
        assert ask(name, address, "/hello") == (200, b"Hello, world!\n")
        started = family(server.pid)
        server.signal(signal.SIGKILL)
        server.wait()
        wait_until(lambda: not any(map(is_alive, started)), "all it started is gone")


@ALL
def test_no_file_is_left(name: str, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    places = {"TMPDIR": str(temporary), "HOME": str(temporary), "XDG_RUNTIME_DIR": str(temporary)}
    with running(name, f"unix:{tmp_path}/s", cwd=tmp_path, environment=places) as (server, address):
        assert ask(name, address, "/hello")[0] == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0, server.stderr
    assert list(tmp_path.iterdir()) == [temporary]
    assert not list(temporary.iterdir())


@each("bjoern", "libfcgi")
def test_a_child_that_dies_is_replaced(name: str, tmp_path: Path) -> None:
    with running(name, f"unix:{tmp_path}/s", workers=1) as (server, address):
        wait_until(lambda: server.children, "the child is there")
        (victim,) = server.children
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: server.children - {victim}, "another one is there")
        assert ask(name, address, "/hello")[0] == 200


@need("gunicorn")
def test_gunicorn_takes_no_settings_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("raise RuntimeError('the file was read')\n")
    options = {"GUNICORN_CMD_ARGS": "--nonsense"}
    with running("gunicorn", "127.0.0.1:0", cwd=tmp_path, environment=options) as (_, address):
        assert ask("gunicorn", address, "/hello")[0] == 200


@need("gunicorn")
def test_gunicorn_decodes_chunks(tmp_path: Path) -> None:
    with running("gunicorn", f"unix:{tmp_path}/s") as (_, address), RawClient(address) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"3\r\none\r\n4\r\n two\r\n0\r\n\r\n")
        assert client.response("POST")[1] == b"one two"


@need("bjoern")
def test_bjoern_serves_beside_idle_connections(tmp_path: Path) -> None:
    with (
        running("bjoern", f"unix:{tmp_path}/s", workers=1) as (server, address),
        contextlib.ExitStack() as stack,
    ):
        kept = [stack.enter_context(RawClient(address)) for _ in range(50)]
        for _ in range(2):
            for client in kept:
                assert client.ask("GET", "/hello")[1] == b"Hello, world!\n"
        server.signal(signal.SIGTERM)
        assert server.wait() == 0, server.stderr
        assert all(client.closed_by_peer for client in kept)


@need("uwsgi")
def test_uwsgi_takes_large_parameters(tmp_path: Path) -> None:
    value = "x" * 50_000
    with (
        running("uwsgi", f"unix:{tmp_path}/s") as (_, address),
        fastcgi.Client(address) as client,
    ):
        answer = client.request("/whoami", HTTP_X_LARGE=value)
        assert json.loads(answer.body)["headers"]["x-large"] == value


@pytest.fixture(scope="module")
def libfcgi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    folder = tmp_path_factory.mktemp("libfcgi")
    with running("libfcgi", f"unix:{folder}/s", workers=1) as (_, address):
        yield address


@need("libfcgi")
@pytest.mark.parametrize("size", [0, 1, 8192, 1_000_000])
def test_libfcgi_keeps_the_connection(libfcgi: Address, size: int) -> None:
    body = os.urandom(size)
    with fastcgi.Client(libfcgi) as client:
        for _ in range(3):
            answer = client.request("/echo", "POST", body, CONTENT_TYPE="x/y")
            assert (answer.status, answer.headers["content-type"]) == (200, "x/y")
            assert answer.body == body
            # Content that nobody reads is not taken for the next request.
            assert client.request("/hello", "POST", body).status == 405


@need("libfcgi")
def test_libfcgi_without_keep_conn_ends_the_connection(libfcgi: Address) -> None:
    with fastcgi.Client(libfcgi) as client:
        assert client.request("/hello", keep_conn=False).status == 200
        assert client.closed_by_peer


@need("libfcgi")
def test_libfcgi_survives_those_who_leave(libfcgi: Address) -> None:
    reset = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    for path, body in (("/bytes?n=5000000", b""), ("/echo", None)):
        with fastcgi.Client(libfcgi) as leaver:
            leaver.start(path, "POST" if body is None else "GET", body, CONTENT_LENGTH="9")
            leaver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    with fastcgi.Client(libfcgi) as stranger:
        stranger.send(b"GET / HTTP/1.1\r\n\r\n")
    assert ask("libfcgi", libfcgi, "/hello") == (200, b"Hello, world!\n")


@need("libfcgi")
def test_libfcgi_ends_a_path_at_a_nul(libfcgi: Address) -> None:
    """The one check of the contract that it cannot hold, in SPECS too."""
    with fastcgi.Client(libfcgi) as client:
        assert client.request("/file/hello.txt\0.html").body == b"Hello, file!\n"
    assert [name for name, _reason in SPECS["libfcgi"].exceptions] == ["file-confined"]


def test_what_is_missing_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda _name: None)
    told = {name: SPECS[name].unavailable() for name in ("gunicorn", "bjoern", "uwsgi", "libfcgi")}
    assert told == {
        "gunicorn": "the package gunicorn is not installed: run pip install 'gunicorn>=23'",
        "bjoern": "the package bjoern is not installed: "
        "run sudo apt install gcc libev-dev, then pip install bjoern",
        "uwsgi": "the package pyuwsgi is not installed: run pip install 'pyuwsgi>=2.0.28'",
        "libfcgi": "libfcgi is not installed: run sudo apt install libfcgi0ldbl",
    }


@need("bjoern")
def test_bjoern_closes_where_its_answer_to_head_has_a_last_chunk() -> None:
    with running("bjoern", "127.0.0.1:0") as (_, address), RawClient(address) as client:
        client.request("HEAD", "/stream?n=2&ms=1")
        head = client.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in head
