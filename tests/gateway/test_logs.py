"""Logs whose reader stands still, whose disk is full, or whose pipe several processes share."""

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainlab.transport import Address, parse_address
from tests.support.gateway import FastCGIPeer, RawClient, fastcgi, running_gateway, serve_always
from tests.support.processes import wait_until

OK = b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
GOOD = b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
BAD = b"GET / nonsense" + b"!" * 60 + b"\r\n\r\n"  # 400


class Piped:
    """A gateway whose stdout and stderr end where nobody reads unless `read` is called."""

    def __init__(self, reader: int, process: subprocess.Popen[bytes]) -> None:
        self._reader = reader
        self.process = process
        self.output = b""
        while not (match := re.search(rb"listening on (.*)\n", self.output)):
            self.read()
        self.address: Address = parse_address(match[1].decode())

    def read(self) -> bytes:
        """Read what is there; wait for the first byte."""
        data = os.read(self._reader, 65536)
        self.output += data
        return data

    def read_to_end(self) -> list[str]:
        """Stop the gateway and return its lines after the one that says where it listens."""
        self.process.send_signal(signal.SIGTERM)
        while self.read():
            pass
        assert self.process.wait(20) == 0
        return self.output.decode().split("listening on ")[1].split("\n")[1:-1]

    def ask(self, request: bytes) -> bytes:
        """Send a request on a connection of its own and return the whole answer."""
        with RawClient(self.address) as client:
            client.send(request)
            return client.read_to_end()


@contextlib.contextmanager
def piped(kind: str, *options: str) -> Iterator[Piped]:
    """Run a gateway whose output goes into a small pipe or a socket."""
    if kind == "pipe":
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    else:
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        reader, writer = ours.detach(), theirs.detach()
    command = [sys.executable, "-m", "gateway", "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stdout=writer, stderr=writer) as process:
        os.close(writer)
        try:
            yield Piped(reader, process)
        finally:
            process.kill()
            os.close(reader)


def says_much(peer: FastCGIPeer) -> None:
    """Answer each request, after 600 lines of 100 bytes on stderr."""
    while peer.request() is not None:
        peer.socket.sendall(peer.protocol.send_stderr((b"x" * 99 + b"\n") * 600))
        peer.answer(OK)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_log_that_nobody_reads_stops_nobody(tmp_path: Path, kind: str) -> None:
    bad, good = 100, 8
    options = ("--access-log", "off", "--error-log", "-")
    with (
        fastcgi(tmp_path, says_much) as back,
        piped(kind, "--fastcgi", str(back.address), *options) as found,
    ):
        for _ in range(bad):
            assert found.ask(BAD).startswith(b"HTTP/1.1 400 ")
        for _ in range(good):
            assert found.ask(GOOD).endswith(b"ok")
        while b"lines were lost" not in found.output:
            assert found.read()
        lines = found.read_to_end()
    pattern = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(?:info|error)\] \d+: [ -~]+"
    assert all(re.fullmatch(pattern, line) for line in lines)
    assert sum("refused with 400" in line for line in lines) == bad
    told = sum("stderr: xxx" in line for line in lines)
    lost = [re.search(r"error log: (\d+) lines were lost: its reader", line) for line in lines]
    assert told + sum(int(match[1]) for match in lost if match) == 600 * good


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_access_lines_of_several_processes_do_not_mix(tmp_path: Path, kind: str) -> None:
    clients, each = 8, 60
    with (
        fastcgi(tmp_path, serve_always(OK)) as back,
        piped(kind, "--fastcgi", str(back.address), "--workers", "2") as found,
    ):

        def ask(name: str) -> None:
            with RawClient(found.address) as client:
                for _ in range(each):
                    client.ask("GET", "/", User_Agent=name * 700)

        threads = [threading.Thread(target=ask, args=(name,)) for name in "abcdefgh"[:clients]]
        for thread in threads:
            thread.start()
        while found.output.count(b"\n") < clients * each // 2:  # a slow reader
            assert found.read()
        for thread in threads:
            thread.join()
        lines = [line for line in found.read_to_end() if "[info]" not in line]
    pattern = r'127\.0\.0\.1 - - \[[^]]+\] "GET / HTTP/1\.1" 200 2 "-" "([a-h])\1{699}"'
    lost = [re.search(r"access log: (\d+) lines were lost", line) for line in lines]
    whole = [line for line, told in zip(lines, lost, strict=True) if not told]
    assert [line for line in whole if not re.fullmatch(pattern, line)] == []
    assert len(whole) + sum(int(told[1]) for told in lost if told) == clients * each


def test_a_line_too_long_for_a_pipe_is_cut_there_and_not_in_a_file(tmp_path: Path) -> None:
    path = "/" + "x" * 6000
    request = f"GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode()
    access = tmp_path / "access.log"
    with fastcgi(tmp_path, serve_always(OK)) as back:
        with piped("pipe", "--fastcgi", str(back.address)) as found:
            found.ask(request)
            (line,) = [line for line in found.read_to_end() if "[info]" not in line]
        options = ("--fastcgi", str(back.address), "--access-log", str(access))
        with running_gateway(*options) as other, other.connect() as client:
            client.send(request)
            client.read_to_end()
    assert re.search(r'"GET /x{200,400}\.\.\." 200 2 "-" "-"$', line)
    assert f'"GET {path} HTTP/1.1" 200 2 "-" "-"' in access.read_text()


def test_full_disks_cost_no_request(tmp_path: Path) -> None:
    error = tmp_path / "error.log"
    with fastcgi(tmp_path, serve_always(OK)) as back:
        options = ("--fastcgi", str(back.address), "--access-log", "/dev/full")
        with (
            running_gateway(*options, "--error-log", str(error)) as found,
            found.connect() as client,
        ):
            for _ in range(40):
                assert client.ask("GET", "/", User_Agent="x" * 20_000)[0].status == 200
            wait_until(
                lambda: re.search(
                    r"\[error\] \d+: access log: \d+ lines were lost: No space left on device",
                    error.read_text(),
                ),
                "the error log reports the lost lines",
            )
        with running_gateway(*options, "--error-log", "/dev/full") as found:
            with found.connect() as client:
                client.send(BAD)
                assert client.read_to_end().startswith(b"HTTP/1.1 400 ")
            assert found.get("/") == (200, b"ok")


@pytest.mark.parametrize(
    ("level", "told"), [("error", {"error"}), ("warn", {"error"}), ("info", {"error", "info"})]
)
def test_the_level_decides_which_lines_are_written(
    tmp_path: Path, level: str, told: set[str]
) -> None:
    nobody = f"unix:{tmp_path}/none"
    config = tmp_path / "g.toml"
    config.write_text(
        f'listen = ["127.0.0.1:0"]\n[log]\naccess = "off"\nlevel = "{level}"\n'
        f'[upstream.app]\nprotocol = "http"\naddresses = ["{nobody}"]\n'
    )
    for options in (("--http", nobody, "--log-level", level), ("--config", str(config))):
        with running_gateway(*options) as found:
            with found.connect() as client:
                client.send(BAD)
                client.read_to_end()
            assert found.get("/")[0] == 502
            found.process.wait_for_stderr("[error]")
            assert set(re.findall(r"\[(\w+)\]", found.process.stderr)) == told


def test_closed_streams_are_nobodys(tmp_path: Path) -> None:
    """The numbers 1 and 2 belong to whatever was opened since: a listener, a client."""
    listen = Address(path=str(tmp_path / "g.sock"))
    with fastcgi(tmp_path, serve_always(OK)) as back:
        command = f"{sys.executable} -m gateway --listen {listen} --fastcgi {back.address}"
        with subprocess.Popen(["sh", "-c", f"exec {command} >&- 2>&-"]) as process:
            try:
                wait_until(lambda: Path(listen.path).exists(), "it listens")
                with RawClient(listen) as client:
                    for _ in range(3):
                        assert client.ask("GET", "/")[1] == b"ok"
                    client.send(BAD)
                    assert client.read_to_end().startswith(b"HTTP/1.1 400 ")
            finally:
                process.terminate()
        assert process.returncode == 0
