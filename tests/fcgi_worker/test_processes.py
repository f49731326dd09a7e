"""The master and its children as processes: signals, deaths, addresses, a bad application."""

import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fcgi_worker.conftest import APPS, ROOT
from tests.support.fastcgi import Client, encode_params, make_params
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


def test_sigquit_serves_what_has_arrived(tmp_path: Path) -> None:
    """Requests on kept connections, half a request, and one on a connection not yet accepted."""
    bind = f"unix:{tmp_path}/s"
    gate = tmp_path / "gate"
    with (
        running_worker(APPLICATION, "--workers", "1", bind=bind, cwd=ROOT) as (process, address),
        Client(address) as busy,
        Client(address) as kept,
        Client(address) as half,
        Client(address) as quiet,
    ):
        for client in (busy, kept, half, quiet):
            client.request("/hello")
        params = half.protocol.begin(encode_params(make_params("/hello")), body=b"", keep_conn=True)
        half.send(params[:50])
        busy.request("/hello")  # by the time this is answered, the child has seen the half
        busy.start(f"/hold?file={gate}")
        wait_until(started(gate), "the request runs")
        kept.start("/hello")
        with Client(address) as fresh:
            fresh.start("/hello")
            process.signal(signal.SIGQUIT)
            assert quiet.closed_by_peer
            gate.touch()
            for client in (busy, kept, fresh):
                assert client.finish().end is not None
                assert client.closed_by_peer
            half.send(params[50:])
            assert half.finish().body == b"hello\n"
            assert process.wait() == 0


def test_idle_connections_do_not_stay_for_ever(tmp_path: Path) -> None:
    bind, options = f"unix:{tmp_path}/s", ("--workers", "1", "--idle-timeout", "0.2")
    with (
        running_worker(APPLICATION, *options, bind=bind, cwd=ROOT) as (_, address),
        Client(address) as idle,
        Client(address) as used,
    ):
        idle.request("/hello")
        idle.socket.setblocking(False)

        def is_closed() -> bool:
            assert used.request("/hello").body == b"hello\n"
            try:
                return idle.socket.recv(1) == b""
            except BlockingIOError:
                return False

        wait_until(is_closed, "the idle connection is closed, and the used one is not")


def test_a_failed_accept_is_tried_again_whatever_the_load(tmp_path: Path) -> None:
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400));"
    run = "sys.argv[:1] = ['fcgi-worker']; from fcgi_worker.cli import main; main()"
    application = "tests.fcgi_worker.process_app:application"
    command = [sys.executable, "-c", limit + run, application, "--workers", "1"]
    with Process([*command, "--bind", f"unix:{tmp_path}/s"], cwd=ROOT) as process:
        address = process.wait_until_listening()
        with ExitStack() as stack:
            kept = stack.enter_context(Client(address))
            kept.request("/pid")  # the child holds the connection now
            kept.request("/exhaust")
            fresh = stack.enter_context(Client(address))
            fresh.start("/pid")
            process.wait_for_stderr("accept: Too many open files")
            assert kept.request("/pid").status == 200  # it needs no descriptor
            kept.request("/release")
            fresh.socket.setblocking(False)

            def is_served() -> bool:
                for _ in range(10):
                    kept.request("/pid")  # the child is never idle
                try:
                    return bool(fresh.socket.recv(1, socket.MSG_PEEK))
                except BlockingIOError:
                    return False

            wait_until(is_served, "the new connection is served", 10)


def test_children_under_load_follow_a_killed_master(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    with (
        running_worker(APPLICATION, "--workers", "1", bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        client.request("/hello")
        process.signal(signal.SIGKILL)

        def is_closed() -> bool:
            try:
                return client.request("/hello").end is None
            except OSError:
                return True

        wait_until(is_closed, "the child has gone although it had requests all the time")


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
