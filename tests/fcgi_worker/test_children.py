"""A child's life: it crashes, hangs, grows, gets old or has old code, and the service goes on."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chainlab.transport import Address
from fcgi_worker.scoreboard import BUSY, FREE, IDLE, STARTING, Scoreboard
from tests.fcgi_worker.conftest import ROOT
from tests.support.fastcgi import Client
from tests.support.processes import Process, is_alive, running_worker, wait_until

APPLICATION = "tests.fcgi_worker.process_app:application"


def answer(address: Address, path: str) -> str:
    with Client(address) as client:
        return client.request(path).body.decode()


# Crashes


def test_a_child_that_crashes_on_a_request_is_replaced_at_once(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    with running_worker(APPLICATION, "--workers", "2", bind=bind, cwd=ROOT) as (process, address):
        begin = time.monotonic()
        for _ in range(12):  # the twelfth would have waited for half a minute
            with Client(address) as client:
                assert client.request("/crash").end is None
        assert answer(address, "/pid")
        assert time.monotonic() - begin < 20
        wait_until(lambda: len(process.children) == 2, "the pool is whole")
        process.wait_for_stderr("was killed by SIGSEGV while it served GET /crash", times=12)


def test_children_that_die_before_they_are_ready_are_not_forked_in_a_row(tmp_path: Path) -> None:
    (tmp_path / "stillborn.py").write_text("import os\nos._exit(9)\n")
    command = [sys.executable, "-m", "fcgi_worker", "stillborn:app", "--workers", "1"]
    with Process([*command, "--bind", f"unix:{tmp_path}/s"], cwd=tmp_path) as process:
        begin = time.monotonic()
        process.wait_for_stderr("exited with 9", times=5)
        assert time.monotonic() - begin >= 0.1 + 0.2 + 0.4 + 0.8  # the pauses between five starts


# Requests that take too long


@pytest.mark.parametrize("where", ["Python", "C"])
def test_a_request_that_runs_too_long_is_ended_with_its_child(tmp_path: Path, where: str) -> None:
    bind, gate = f"unix:{tmp_path}/s", tmp_path / "gate"
    options = ("--workers", "1", "--request-timeout", "0.5")
    with (
        running_worker(APPLICATION, *options, bind=bind, cwd=ROOT) as (process, address),
        Client(address) as stuck,
        Client(address) as other,
    ):
        before = other.request("/pid").body
        stuck.start(f"/loop?file={gate}&where={where}")
        wait_until(gate.exists, "the request runs")
        other.start("/pid")
        assert other.finish().body not in (b"", before)  # it waited for the next child
        assert stuck.finish().end is None
        said = process.stderr
        assert f"is killed: GET /loop?file={gate}&where={where} has run for " in said
        assert "--request-timeout is 0.5\n" in said
        assert 'process_app.py", line ' in said  # the Python stack
        assert " in loop" in said


def test_a_request_that_ends_in_time_is_left_alone(tmp_path: Path) -> None:
    """The limit is for each request, not for the child."""
    bind = f"unix:{tmp_path}/s"
    options = ("--workers", "1", "--request-timeout", "0.5")
    with (
        running_worker(APPLICATION, *options, bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        first, begin = client.request("/pid").body, time.monotonic()
        while time.monotonic() - begin < 1.5:
            assert client.request("/pid").body == first
        assert "is killed" not in process.stderr


# Limits of a child


def test_a_child_is_replaced_after_its_number_of_requests(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    options = ("--workers", "1", "--max-requests", "5")
    with (
        running_worker(APPLICATION, *options, bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,  # one connection: it goes from child to child
    ):
        first = client.request("/pid").body
        wait_until(lambda: client.request("/pid").body != first, "another child serves")
        wait_until(lambda: not is_alive(int(first)), "the first one has left")
        assert "killed" not in process.stderr
        assert " exited with" not in process.stderr


def test_with_jitter_children_do_not_leave_together(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    options = ("--workers", "1", "--max-requests", "1", "--max-requests-jitter", "1000000")
    with (
        running_worker(APPLICATION, *options, bind=bind, cwd=ROOT) as (_, address),
        Client(address) as client,
    ):
        assert len({client.request("/pid").body for _ in range(20)}) == 1


def test_a_child_that_has_grown_is_replaced(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    options = ("--workers", "1", "--max-memory", "100M")
    with (
        running_worker(APPLICATION, *options, bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        first = client.request("/pid").body
        for _ in range(2):
            client.request("/grow")
        wait_until(lambda: client.request("/pid").body != first, "another child serves")
        process.wait_for_stderr("MiB, --max-memory is 100: replacing it")


# New code


@pytest.fixture
def versions(tmp_path: Path) -> Iterator[tuple[Process, Address, Path]]:
    """A worker of an application that answers with its version, and the application's file."""
    code = tmp_path / "versioned.py"
    write_version(code, 1)
    bind, options = f"unix:{tmp_path}/s", ("--workers", "2")
    with running_worker("versioned:app", *options, bind=bind, cwd=tmp_path) as (process, address):
        yield process, address, code


def write_version(code: Path, version: int) -> None:
    code.write_text(
        "import os, time\n"
        "def app(environ, start_response):\n"
        "    gate = environ['QUERY_STRING']\n"
        "    if gate:\n"
        "        open(gate + '.started', 'w').close()\n"
        "        while not os.path.exists(gate): time.sleep(0.005)\n"
        "    start_response('200 OK', [])\n"
        f"    return [b'version {version}']\n"
    )
    os.utime(code, (version * 10, version * 10))  # a cached .pyc of the same second is not it


def test_sighup_brings_the_new_code(versions: tuple[Process, Address, Path]) -> None:
    process, address, code = versions
    old = process.children
    with Client(address) as client:
        for version in range(2, 5):
            write_version(code, version)
            process.signal(signal.SIGHUP)
            while (seen := client.request("/").body) != b"version %d" % version:
                assert seen == b"version %d" % (version - 1)  # on one connection, all the time
            process.wait_for_stderr("is ready", times=2 * version)
            wait_until(lambda: len(process.children) == 2, "the old children have left")
        assert client.request("/").body == b"version 4"
    assert not old & process.children


def test_sighup_lets_running_requests_finish(
    versions: tuple[Process, Address, Path], tmp_path: Path
) -> None:
    process, address, code = versions
    gate = tmp_path / "gate"
    with Client(address) as busy, Client(address) as client:
        busy.start(f"/?{gate}")
        wait_until(Path(f"{gate}.started").exists, "the request runs")
        write_version(code, 2)
        process.signal(signal.SIGHUP)
        wait_until(lambda: client.request("/").body == b"version 2", "the new code serves")
        gate.touch()
        assert busy.finish().body == b"version 1"
        again = "the new code serves the connection of the old child"
        wait_until(lambda: busy.request("/").body == b"version 2", again)


def test_sighup_with_code_that_cannot_be_loaded_changes_nothing(
    versions: tuple[Process, Address, Path],
) -> None:
    process, address, code = versions
    before = process.children
    for number in range(1, 3):
        code.write_text("this is not Python")
        process.signal(signal.SIGHUP)
        process.wait_for_stderr("the new code cannot be loaded", times=number)
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(address)) for _ in range(4)]
            assert {client.request("/").body for client in clients} == {b"version 1"}
        assert process.children == before
    write_version(code, 2)
    process.signal(signal.SIGHUP)
    wait_until(lambda: answer(address, "/") == "version 2", "the mended code serves")


def test_sighup_ends_a_child_that_never_finishes_loading(
    versions: tuple[Process, Address, Path],
) -> None:
    process, address, code = versions
    for number in range(3):  # each hangs in its import
        code.write_text(f"import time\nopen('hangs-{number}', 'w').close()\ntime.sleep(600)")
        process.signal(signal.SIGHUP)
        wait_until((code.parent / f"hangs-{number}").exists, "the code is being loaded")
        assert answer(address, "/") == "version 1"
    write_version(code, 2)
    process.signal(signal.SIGHUP)
    wait_until(lambda: answer(address, "/") == "version 2", "the mended code serves")
    wait_until(lambda: len(process.children) == 2, "nobody hangs any more")


# The scoreboard


def test_a_row_says_what_its_child_does() -> None:
    board = Scoreboard(3)
    mark, other = board.mark(1), board.mark(2)
    assert board.read(1).state == FREE
    mark.starting(1.5)
    other.starting(1.5)
    other.begin(b"POST /other", 2.0)
    assert (board.read(1).state, board.read(1).since, board.busy_since(1)) == (STARTING, 1.5, 0)
    assert mark.begin(b"GET /x?" + b"y" * 1000, 7.25) == 1
    row = board.read(1)
    assert (row.state, row.since, row.requests) == (BUSY, 7.25, 1)
    assert row.line.startswith("GET /x?yyy")
    assert board.busy_since(1) == 7.25
    mark.idle()
    board.set_memory(1, 12345)
    assert mark.begin("GET /\xe4".encode("latin-1"), 8.0) == 2
    assert (board.read(1).line, board.read(1).memory) == ("GET /\xe4", 12345)
    mark.idle()
    assert (board.read(1).state, board.busy_since(1)) == (IDLE, 0)
    assert (board.read(2).state, board.read(2).line) == (BUSY, "POST /other")
    board.free(2)
    assert board.busy_since(2) == 0
