"""What an application finds in its process, and what happens to what it leaves there."""

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chainlab.transport import Address
from tests.fcgi_worker.conftest import ROOT
from tests.fcgi_worker.process_app import RAISED
from tests.support.fastcgi import Client
from tests.support.processes import Process, child_pids, is_alive, running_worker, wait_until

MODULE = "tests.fcgi_worker.process_app"
APPLICATION = f"{MODULE}:application"


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Address]]:
    """A worker with a single child, which its tests leave alive."""
    bind = f"unix:{tmp_path_factory.mktemp('around')}/s"
    with running_worker(APPLICATION, "--workers", "1", bind=bind, cwd=ROOT) as worker:
        yield worker


@pytest.fixture
def client(around: tuple[Process, Address]) -> Iterator[Client]:
    with Client(around[1]) as connection:
        yield connection


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def ask(client: Client, path: str) -> Any:
    return json.loads(client.request(path).body)


# The end


@pytest.fixture
def ending(tmp_path: Path) -> Iterator[tuple[Process, Address]]:
    """A worker of two children that leave files at their end."""
    application, bind = f"{MODULE}:create({str(tmp_path)!r})", f"unix:{tmp_path}/s"
    with running_worker(application, "--workers", "2", bind=bind, cwd=ROOT) as (process, address):
        process.wait_for_stderr("is ready", times=2)
        yield process, address


def ended_well(folder: Path, children: set[int]) -> bool:
    return all(
        (folder / f"exit-{child}").exists()
        and (folder / f"stdout-{child}").read_text() == "no newline, no flush"
        for child in children
    )


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM, signal.SIGINT])
def test_exit_handlers_run_and_output_is_written(
    ending: tuple[Process, Address], tmp_path: Path, number: signal.Signals
) -> None:
    process, _ = ending
    children = process.children
    process.signal(number)
    assert process.wait() == 0
    assert ended_well(tmp_path, children)


def test_exit_handlers_run_when_sigterm_cuts_a_request(
    ending: tuple[Process, Address], tmp_path: Path
) -> None:
    process, address = ending
    children = process.children
    with Client(address) as client:
        client.start(f"/hold?file={tmp_path}/gate")
        wait_until((tmp_path / "gate.started").exists, "the request runs")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert client.finish().end is None
    assert ended_well(tmp_path, children)


def test_exit_handlers_run_when_a_child_is_replaced(
    ending: tuple[Process, Address], tmp_path: Path
) -> None:
    process, _ = ending
    children = process.children
    process.signal(signal.SIGHUP)
    wait_until(lambda: not any(map(is_alive, children)), "the old children have left")
    assert ended_well(tmp_path, children)


def test_a_thread_may_finish(ending: tuple[Process, Address], tmp_path: Path) -> None:
    process, address = ending
    with Client(address) as client:
        client.request(f"/lingering?file={tmp_path}/gate")
    process.signal(signal.SIGQUIT)
    wait_until(lambda: len(process.children) == 1, "the child without a thread has left")
    (tmp_path / "gate").touch()
    assert process.wait() == 0
    assert (tmp_path / "gate.done").exists()


@pytest.mark.long
def test_a_thread_that_does_not_finish_is_not_awaited_for_ever(
    ending: tuple[Process, Address], tmp_path: Path
) -> None:
    process, address = ending
    with Client(address) as client:
        client.request(f"/lingering?file={tmp_path}/gate")
    process.signal(signal.SIGQUIT)
    assert process.wait() == 0
    assert "which did not stop in time" in process.stderr
    assert not (tmp_path / "gate.done").exists()


# Processes of the application


def test_pools_of_every_kind_work(client: Client) -> None:
    wanted = [1, 2, 3]
    assert ask(client, "/pools") == {"fork": wanted, "spawn": wanted, "forkserver": wanted}


def test_a_pool_ends_with_its_child(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    with (
        running_worker(APPLICATION, "--workers", "1", bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        pids = ask(client, "/executor")
        assert len(pids) == 2
        process.signal(signal.SIGQUIT)
        assert process.wait() == 0
        assert not any(map(is_alive, pids))


def test_a_forked_process_holds_nothing_of_the_worker(client: Client) -> None:
    assert ask(client, "/held") == [[], [], []]


def test_a_forked_process_has_the_usual_signal_handlers(client: Client) -> None:
    found = ask(client, "/handlers")
    assert found.pop("SIGINT") == "<built-in function default_int_handler>"
    assert set(found.values()) == {str(signal.SIG_DFL)}
    assert ask(client, "/terminated") == -signal.SIGTERM


def test_a_started_program_ignores_and_blocks_no_signal(client: Client) -> None:
    ignored_by_python = {signal.SIGPIPE, signal.SIGXFSZ}  # subprocess restores them
    usual = sum(1 << number - 1 for number in ignored_by_python)
    status = Path("/proc/self/status").read_text()
    inherited = int(status.partition("SigIgn:")[2].split()[0], 16)  # from whoever started us all
    told = ask(client, "/programs-signals")
    assert told["blocked"] == 0
    assert told["ignored"] & ~usual & ~inherited == 0


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("raise", 1), ("exit", 3)])
def test_a_forked_process_that_leaves_the_application_ends(
    client: Client, how: str, code: int
) -> None:
    """It does not answer in its parent's name, and does not become a second child."""
    answer = client.request(f"/fork?how={how}")
    assert json.loads(answer.body) == code
    assert answer.end is not None
    assert ask(client, "/pid")


def test_connections_end_although_a_forked_process_lives(tmp_path: Path) -> None:
    """Its copies would keep them open: the web server would wait for an answer to its timeout."""
    bind = f"unix:{tmp_path}/s"
    with (
        running_worker(APPLICATION, "--workers", "1", bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
        Client(address) as kept,
        Client(address) as torn,
    ):
        kept.request("/pid")
        pid = ask(client, "/job")
        try:
            torn.start("/crash")
            assert torn.closed_by_peer
            process.signal(signal.SIGKILL)
            assert kept.closed_by_peer
            assert is_alive(pid)
            with running_worker(APPLICATION, bind=bind, cwd=ROOT) as (_, a), Client(a) as fresh:
                assert ask(fresh, "/pid")
        finally:
            os.kill(pid, signal.SIGKILL)


def test_connections_end_at_once_when_the_worker_stops(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    with (
        running_worker(APPLICATION, "--workers", "2", bind=bind, cwd=ROOT) as (process, address),
        Client(address) as kept,
        Client(address) as busy,
    ):
        kept.request("/pid")
        busy.start(f"/hold?file={tmp_path}/gate")
        wait_until((tmp_path / "gate.started").exists, "the request runs")
        process.signal(signal.SIGQUIT)
        assert kept.closed_by_peer  # although the worker waits for the other
        (tmp_path / "gate").touch()
        assert busy.finish().end is not None


# Logging


LOGGING = """
import logging, logging.config, os
logging.config.dictConfig({{"version": 1}})  # disables every logger that exists
logging.setLogRecordFactory(lambda *rest, **more: 1 / 0 if "worker" in rest[0] else RECORD(*rest))
RECORD = logging.LogRecord
logging.basicConfig(filename={path!r}, level=logging.DEBUG, format="%(levelname)s %(message)s")

def application(environ, start_response):
    logging.getLogger("shop").debug("a line of the application")
    if environ["QUERY_STRING"]:
        raise ValueError("an error of the application")
    start_response("200 OK", [])
    return [b""]
"""


def test_the_logging_of_the_application_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(LOGGING.format(path=str(tmp_path / "shop.log")))
    bind = f"unix:{tmp_path}/s"
    with running_worker("shop:application", bind=bind, cwd=tmp_path) as (process, address):
        with Client(address) as client:
            assert client.request("/").status == 200
            assert client.request("/?x").status == 500
        process.wait_for_stderr("ValueError: an error of the application")  # our log goes on
        assert "a line of the application" not in process.stderr
    assert (tmp_path / "shop.log").read_text() == "DEBUG a line of the application\n" * 2


def test_a_log_that_nobody_reads_stops_nobody(tmp_path: Path) -> None:
    """A stalled supervisor: the pipe of stderr is full."""
    ours, theirs = os.pipe()
    command = [sys.executable, "-m", "fcgi_worker", APPLICATION, "--workers", "2"]
    path = tmp_path / "s"
    pid = os.posix_spawn(
        sys.executable, [*command, "--bind", f"unix:{path}"], os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 2)], setpgroup=0,
    )  # fmt: skip
    os.close(theirs)
    try:
        wait_until(lambda: listens(path), "the worker listens")
        address = Address(path=str(path))
        for route in ("/chatter", "/crash", "/chatter"):  # the master tells of the crash
            for _ in range(1 if route == "/crash" else 20):  # the others say 100 kB each
                with Client(address) as client:
                    assert (client.request(route).end is None) == (route == "/crash")
        read = b""
        os.set_blocking(ours, False)
        with Client(address) as client:

            def is_reported() -> bool:
                nonlocal read
                assert client.request("/pid").status == 200
                with contextlib.suppress(BlockingIOError):
                    read += os.read(ours, 1 << 20)
                return b"lost: its reader is too slow" in read and b"killed by SIGSEGV" in read

            wait_until(is_reported, "all is told, or counted, once somebody reads")
    finally:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ours)


# Exceptions, signals, files


@pytest.mark.parametrize("what", RAISED)
def test_an_exception_of_any_class_costs_a_500(client: Client, what: str) -> None:
    before = ask(client, "/pid")
    answer = client.request(f"/raising?what={what}")
    assert answer.status == 500
    assert f"{what}".encode() in answer.stderr
    assert ask(client, "/pid") == before


def test_signals_and_asyncio_are_the_applications(client: Client) -> None:
    assert ask(client, "/alarm") == "the alarm rang"
    assert ask(client, "/run-asyncio") == "from a program"


def test_an_application_with_many_files(tmp_path: Path) -> None:
    """Their descriptors may have the numbers that the worker has in mind for its connections."""
    bind = f"unix:{tmp_path}/s"
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000));"
    run = "sys.argv[:1] = ['fcgi-worker']; from fcgi_worker.cli import main; main()"
    for prefix in ("", limit):  # below the worker's numbers, and among them
        command = [sys.executable, "-c", (prefix or "import sys;") + run, APPLICATION]
        with Process([*command, "--workers", "2", "--bind", bind], cwd=ROOT) as process:
            address = process.wait_until_listening()
            process.wait_for_stderr("is ready", times=2)
            before = process.children
            clients = [Client(address) for _ in range(50)]
            while {ask(client, "/many-files") for client in clients[:10]} != {1100}:
                pass
            for _ in range(3):
                pids = {ask(client, "/pid") for client in clients}
                assert pids <= before
            with Client(address) as fresh:
                assert ask(fresh, "/pid") in before
                assert ask(fresh, "/pid") in before
            for client in clients:
                client.close()
            assert process.children == before
            assert "connection closed" not in process.stderr


# The master's death


def test_a_busy_child_follows_its_master_too(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    gate = tmp_path / "gate"
    with (
        running_worker(APPLICATION, "--workers", "2", bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        children = process.children
        client.start(f"/loop?file={gate}&where=Python")
        wait_until(gate.exists, "the request runs")
        process.signal(signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, children)), "the children have gone")
        with running_worker(APPLICATION, bind=bind, cwd=ROOT) as (_, again), Client(again) as fresh:
            assert ask(fresh, "/pid")


@pytest.mark.long
def test_an_orphan_with_a_thread_gives_up_the_listener_and_ends(
    ending: tuple[Process, Address], tmp_path: Path
) -> None:
    process, address = ending
    children = process.children
    with Client(address) as client:
        client.request(f"/lingering?file={tmp_path}/gate")
    process.signal(signal.SIGKILL)
    wait_until(lambda: not listens(Path(address.path)), "a restart would find the address free")
    assert any(map(is_alive, children))
    wait_until(lambda: not any(map(is_alive, children)), "the thread is not awaited for ever")


@pytest.mark.long
def test_a_master_killed_while_it_forks_leaves_nobody(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fcgi_worker", APPLICATION, "--workers", "8"]
    for number in range(20):
        with Process([*command, "--bind", f"unix:{tmp_path}/s"], cwd=ROOT) as process:
            wait_until(partial(child_pids, process.pid), "the first child is there")
            for _ in range(number * 200):
                pass
            process.signal(signal.SIGKILL)
            process.wait()

            wait_until(lambda: not listens(tmp_path / "s"), "nobody listens")
