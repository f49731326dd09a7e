"""The Go programs: their own tests, their build, and both as architectures that start and stop.

What every architecture has to survive is in tests/architectures; here is what is Go's alone, and
the FastCGI one, which no client can ask straight.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import build
from servers.app import contract
from servers.common.registry import SPECS
from servers.go import built as go_programs
from tests.support.architectures import Running, in_group, running, unix_address
from tests.support.fastcgi import Client
from tests.support.gateway import running_gateway
from tests.support.processes import wait_until

STOPS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)

needs_go = pytest.mark.skipif(
    shutil.which("go") is None, reason="go is not installed: run sudo apt install golang-go"
)
built = pytest.mark.skipif(
    SPECS["go"].unavailable() is not None, reason=f"go: {SPECS['go'].unavailable()}"
)


def go(*arguments: str) -> str:
    """Run a Go tool on the module; returns all it said; AssertionError when it fails."""
    done = subprocess.run(
        arguments,
        cwd=go_programs.FOLDER,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@needs_go
@pytest.mark.long
def test_its_own_tests() -> None:
    said = go("go", "test", "./...")
    assert all(f"chainlab/{name}" in said for name in ("web", "app", "host", "cmd/go-http"))


@needs_go
def test_its_style() -> None:
    assert go("gofmt", "-l", ".") == ""
    go("go", "vet", "./...")


def test_every_file_says_what_it_is() -> None:
    for path in go_programs.FOLDER.rglob("*.go"):
        if not path.name.endswith("_test.go"):
            before_imports = path.read_text().partition("import")[0]
            assert any(line.startswith("// ") for line in before_imports.splitlines()), path


# Building


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources that nothing has been built from."""
    copy = tmp_path / "go"
    shutil.copytree(go_programs.FOLDER, copy, ignore=shutil.ignore_patterns("bin"))
    monkeypatch.setattr(go_programs, "FOLDER", copy)
    monkeypatch.setattr(build, "FOLDER", copy)
    return copy


@needs_go
@pytest.mark.long
def test_build_is_quiet_when_there_is_nothing_to_do(
    module: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert go_programs.unbuilt("go-http") == "not built: run make setup"
    assert build.build_go()
    assert capfd.readouterr() == ("go-http: built\ngo-fcgi: built\n", "")
    assert build.build_go()
    assert capfd.readouterr() == ("", "")
    assert go_programs.unbuilt("go-http") is None

    later = go_programs.binary("go-fcgi").stat().st_mtime + 10
    os.utime(module / "app" / "app_test.go", (later, later))
    assert go_programs.unbuilt("go-http") is None
    os.utime(module / "app" / "app.go", (later, later))
    assert go_programs.unbuilt("go-http") == "out of date: run make setup"
    monkeypatch.setenv("PATH", "/nonexistent")
    assert build.build_go()
    remedy = "out of date: install golang-go, then run make setup"
    assert capfd.readouterr().out == f"go-http: {remedy}\ngo-fcgi: {remedy}\n"


def test_build_without_go_tells_the_remedy(
    module: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    del module
    monkeypatch.setenv("PATH", "/nonexistent")
    remedy = "not built: install golang-go, then run make setup"
    assert build.build_go()
    assert capfd.readouterr().out == f"go-http: {remedy}\ngo-fcgi: {remedy}\n"
    assert SPECS["go"].unavailable() == SPECS["go-fcgi"].unavailable() == remedy


@needs_go
def test_a_build_that_fails_is_a_failure(module: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (module / "host" / "host.go").write_text("package host\n\nnonsense\n")
    assert not build.build_go()
    said = capfd.readouterr()
    assert said.out.startswith("go-http: not built: go build failed with exit code ")
    assert "host.go:3" in said.err


# Running


def ask(name: str, server: Running, path: str) -> bytes:
    """Return the body of an answer, asked for by HTTP or FastCGI."""
    if name == "go-fcgi":
        with Client(server.address) as peer:
            return peer.request(path).body
    with server.connect() as client:
        return client.ask("GET", path)[1]


@contextlib.contextmanager
def waiting(name: str, server: Running) -> Iterator[None]:
    """Have a request that is being waited with, and check at the end that it was answered whole."""
    path = "/stream?n=2&ms=500"
    if name == "go-fcgi":
        with Client(server.address) as peer:
            peer.start(path)
            peer.read_until_stdout(b"line 1\n")
            yield
            answer = peer.finish()
            assert answer.stdout.endswith(b"line 2\n")
            assert answer.end is not None
    else:
        with server.connect() as client:
            client.request("GET", path)
            client.read_until(b"line 1\n")
            yield
            assert client.read_to_end().endswith(b"line 2\n\r\n0\r\n\r\n")


@built
@pytest.mark.parametrize("name", ["go", "go-fcgi"])
def test_whoami(name: str, tmp_path: Path) -> None:
    with running(SPECS[name], unix_address(tmp_path)) as server:
        who = json.loads(ask(name, server, "/whoami"))
        assert who["architecture"] == name
        assert who["requests"] == 1
        assert {who["pid"]} == server.process.children  # one program, and it is not Python's


@built
@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("name", ["go", "go-fcgi"])
def test_stop_while_a_request_waits(name: str, number: signal.Signals, tmp_path: Path) -> None:
    with running(SPECS[name], unix_address(tmp_path)) as server:
        who = json.loads(ask(name, server, "/whoami"))
        group = os.getpgid(who["pid"])
        with waiting(name, server):
            server.process.signal(number)
        assert server.process.wait() == 0, server.process.stderr
        wait_until(lambda: in_group(group) == [], "all its processes are gone")
        assert not Path(server.address.path).exists()


@built
def test_the_fastcgi_contract_through_the_gateway(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running(SPECS["go-fcgi"], unix_address(tmp_path)))
        gateway = stack.enter_context(running_gateway("--fastcgi", str(server.address)))
        assert contract.verify(f"http://{gateway.address}") == []


@built
@pytest.mark.parametrize(
    ("arguments", "public", "said"),
    [
        ("-fd 3", "", "CHAINLAB_PUBLIC is not set: give the folder that /file serves"),
        ("-fd 999", "/", "-fd 999: not a listening socket: "),
        ("serve", "/", '"serve": there are flags only, try -h'),
    ],
)
def test_what_a_program_is_given_wrong_it_tells(arguments: str, public: str, said: str) -> None:
    done = subprocess.run(
        [go_programs.binary("go-http"), *arguments.split()],
        env={"CHAINLAB_PUBLIC": public},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "goroutine" not in done.stderr
