"""The master and its children as processes: signals, deaths, addresses, a bad application."""

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fcgi_worker.conftest import APPS, ROOT
from tests.support.fastcgi import Client
from tests.support.processes import Process, is_alive, running_worker, wait_until

APPLICATION = f"{APPS}:application"


def started(gate: Path) -> Callable[[], bool]:
    return Path(f"{gate}.started").exists


def test_a_killed_child_costs_only_the_request_it_ran(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    gate = tmp_path / "gate"
    with (
        running_worker(APPLICATION, "--workers", "3", bind=bind, cwd=ROOT) as (process, address),
        Client(address) as victim,
        Client(address) as kept,
    ):
        assert kept.request("/hello").body == b"hello\n"
        victim.request("/hello")
        before = process.children
        victim.start(f"/hold?file={gate}")
        wait_until(started(gate), "the request runs")
        with Client(address) as other:
            (pid,) = {int(other.request("/pid").body) for _ in range(1)}
        busy = [child for child in before if child != pid]
        for child in busy:  # one of them runs the request, the other is idle
            os.kill(child, signal.SIGKILL)
        assert victim.finish().end is None
        assert kept.request("/hello").body == b"hello\n"
        wait_until(lambda: len(process.children) == 3, "the dead are replaced")
        assert not before - {pid} & process.children


def test_sigterm_finishes_at_once(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    gate = tmp_path / "gate"
    with (
        running_worker(APPLICATION, "--workers", "2", bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        children = process.children
        client.start(f"/hold?file={gate}")
        wait_until(started(gate), "the request runs")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert client.finish().end is None
        assert not any(is_alive(child) for child in children)
        assert not Path(address.path).exists()


def test_a_child_blocks_no_signal(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    with running_worker(APPLICATION, "--workers", "1", bind=bind, cwd=ROOT) as (process, _):
        (child,) = process.children
        lines = Path(f"/proc/{child}/status").read_text().splitlines()
    assert "SigBlk:\t0000000000000000" in lines  # the application's own children inherit it


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_sigquit_finishes_what_runs(tmp_path: Path, number: signal.Signals) -> None:
    bind = f"unix:{tmp_path}/s"
    gate = tmp_path / "gate"
    with (
        running_worker(APPLICATION, "--workers", "2", bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        children = process.children
        client.start(f"/hold?file={gate}")
        wait_until(started(gate), "the request runs")
        process.signal(number)
        process.wait_for_stderr("stopping after running requests finish")
        wait_until(lambda: not Path(address.path).exists(), "nobody new is let in")
        gate.touch()
        assert client.finish().end is not None
        assert process.wait() == 0
        assert not any(is_alive(child) for child in children)


def test_sigint_twice_is_sigterm(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    gate = tmp_path / "gate"
    with (
        running_worker(APPLICATION, "--workers", "1", bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        client.start(f"/hold?file={gate}")
        wait_until(started(gate), "the request runs")
        process.signal(signal.SIGINT)
        process.wait_for_stderr("stopping after running requests finish")
        process.signal(signal.SIGINT)
        process.wait_for_stderr("stopping now")
        assert process.wait() == 0


def test_the_grace_time_ends(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    gate = tmp_path / "gate"
    options = ("--workers", "1", "--grace", "0.3")
    with (
        running_worker(APPLICATION, *options, bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        client.start(f"/hold?file={gate}")
        wait_until(started(gate), "the request runs")
        process.signal(signal.SIGQUIT)
        assert process.wait() == 0
        assert "which did not stop in time" in process.stderr


def test_children_follow_a_killed_master(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    with running_worker(APPLICATION, "--workers", "2", bind=bind, cwd=ROOT) as (process, _):
        children = process.children
        process.signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: not any(map(is_alive, children)), "the children have gone")


def test_descriptors_and_memory_stay_flat(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    with running_worker(APPLICATION, "--workers", "1", bind=bind, cwd=ROOT) as (_, address):

        def descriptors() -> int:
            with Client(address) as client:
                return int(client.request("/memory", keep_conn=False).body.split()[1])

        before = descriptors()
        for number in range(300):
            with Client(address) as client:
                client.request("/hello", keep_conn=bool(number % 2))
        wait_until(lambda: descriptors() <= before + 2, "the descriptors of ended connections go")


@pytest.mark.parametrize(
    ("application", "message"),
    [
        ("no_such_module:application", "No module named 'no_such_module'"),
        (f"{APPS}:nothing", "has no 'nothing'"),
        (f"{APPS}:not_callable", "is not callable: its type is int"),
        ("application", "is not module:callable, for example myproject.wsgi"),
    ],
)
def test_an_application_that_cannot_be_had(tmp_path: Path, application: str, message: str) -> None:
    command = [sys.executable, "-m", "fcgi_worker", application, "--bind", f"unix:{tmp_path}/s"]
    with Process(command, cwd=ROOT) as process:
        assert process.wait() == 4
        assert message in process.stderr
        assert "cannot be loaded" in process.stderr
        assert not (tmp_path / "s").exists()


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    with running_worker(APPLICATION, "--workers", "1", bind=bind, cwd=ROOT) as (process, _):
        process.signal(signal.SIGKILL)  # its file stays
        process.wait()
        assert (tmp_path / "s").is_socket()
    with running_worker(APPLICATION, "--workers", "1", bind=bind, cwd=ROOT) as (process, address):
        command = [sys.executable, "-m", "fcgi_worker", APPLICATION, "--bind", bind]
        with Process(command, cwd=ROOT) as second:
            assert second.wait() == 1
            assert f"address in use by pid {process.pid}" in second.stderr
        with Client(address) as client:
            assert client.request("/hello").body == b"hello\n"


def test_a_busy_port_is_refused_with_its_holder() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        bind = f"127.0.0.1:{holder.getsockname()[1]}"
        command = [sys.executable, "-m", "fcgi_worker", APPLICATION, "--bind", bind]
        with Process(command, cwd=ROOT) as process:
            assert process.wait() == 1
            assert f"address in use by pid {os.getpid()}" in process.stderr
