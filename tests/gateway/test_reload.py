"""A new configuration on its way: read beside the master, taken by every process or by none."""

import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainlab.transport import Address
from gateway.config import load_config, parse_config
from gateway.orders import (
    OrderError,
    Report,
    pack_config,
    receive_order,
    receive_report,
    send_order,
    send_report,
)
from tests.gateway.test_signals import STATUS, reload, status, wait_for_generation
from tests.support.gateway import Gateway, Scripted
from tests.support.processes import Process, child_pids, is_alive, wait_until

RESOLVER = """
import os, socket, time
real = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host != "backend.test":
        return real(host, *rest, **more)
    with open("{folder}/lookups", "a") as lookups:
        lookups.write(f"{{os.getpid()}}\\n")
    while not os.path.exists("{folder}/answer"):
        time.sleep(0.01)
    return real("127.0.0.1", *rest, **more)
socket.getaddrinfo = getaddrinfo
"""
"""A sitecustomize that makes the name server silent until the file `answer` is there."""


def answer(connection: socket.socket) -> None:
    while b"\r\n\r\n" in connection.recv(65536):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def write(folder: Path, address: str, workers: int = 2) -> Path:
    path = folder / "g.toml"
    path.write_text(
        f'listen = ["127.0.0.1:0"]\nworkers = {workers}\nstatus_path = "{STATUS}"\n'
        '[log]\naccess = "off"\n'
        f'[upstream.app]\nprotocol = "http"\naddresses = ["{address}"]\n'
    )
    return path


@contextlib.contextmanager
def with_a_silent_name_server(folder: Path) -> Iterator[tuple[Gateway, Address]]:
    """A gateway of two processes before a back end, which a reload is to find by its name."""
    (folder / "sitecustomize.py").write_text(RESOLVER.format(folder=folder))
    with Scripted(Address("127.0.0.1", 0), answer) as back:
        command = [sys.executable, "-m", "gateway", "--config"]
        command.append(str(write(folder, str(back.address))))
        with Process(command, environment={"PYTHONPATH": str(folder)}) as process:
            yield Gateway(process), back.address


def lookups(folder: Path) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(line) for line in (folder / "lookups").read_text().split()]
    return []


def serving(found: Gateway) -> set[int]:
    return {process["pid"] for process in status(found)["processes"]}


def test_a_silent_name_server_stops_neither_the_master_nor_the_processes(tmp_path: Path) -> None:
    with with_a_silent_name_server(tmp_path) as (found, address):
        write(tmp_path, f"backend.test:{address.port}")
        reload(found)
        wait_until(lambda: lookups(tmp_path), "the name is being looked up")
        assert found.get("/") == (200, b"ok")
        victim = min(serving(found))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(serving(found) - {victim}) == 2, "the master replaces a process")
        reload(found)  # the first reading is abandoned
        wait_until(lambda: len(lookups(tmp_path)) == 2, "the name is looked up again")
        assert not set(lookups(tmp_path)) & {found.process.pid, victim, *serving(found)}
        (tmp_path / "answer").touch()
        wait_for_generation(found, 2)
        assert found.get("/") == (200, b"ok")
        assert "refused" not in found.process.stderr


def test_a_gateway_stops_while_it_reads_a_configuration(tmp_path: Path) -> None:
    with with_a_silent_name_server(tmp_path) as (found, address):
        write(tmp_path, f"backend.test:{address.port}")
        reload(found)
        wait_until(lambda: lookups(tmp_path), "the name is being looked up")
        found.process.signal(signal.SIGTERM)
        assert found.process.wait() == 0
        assert not is_alive(lookups(tmp_path)[0])


def test_a_process_that_cannot_take_a_configuration_is_replaced(tmp_path: Path) -> None:
    with Scripted(Address("127.0.0.1", 0), answer) as back:
        command = [sys.executable, "-m", "gateway", "--config"]
        with Process([*command, str(write(tmp_path, str(back.address)))]) as process:
            found = Gateway(process)
            victim = min(child_pids(process.pid))
            resource.prlimit(victim, resource.RLIMIT_NOFILE, (3, 4096))
            reload(found)
            process.wait_for_stderr(
                f"process {victim} cannot take configuration 2, replacing it: no descriptors left"
            )
            wait_until(lambda: not is_alive(victim), "it has left")
            wait_for_generation(found, 2)
            wait_until(lambda: len(serving(found)) == 2, "another takes its place")
            assert found.get("/") == (200, b"ok")


@pytest.mark.long
def test_a_process_that_does_not_respond_is_named(tmp_path: Path) -> None:
    with Scripted(Address("127.0.0.1", 0), answer) as back:
        command = [sys.executable, "-m", "gateway", "--config"]
        with Process([*command, str(write(tmp_path, str(back.address)))]) as process:
            found = Gateway(process)
            victim = min(child_pids(process.pid))
            os.kill(victim, signal.SIGSTOP)
            reload(found)
            process.wait_for_stderr(
                f"process {victim} still serves configuration 1: it has not taken 2 within 5 s"
            )
            os.kill(victim, signal.SIGCONT)
            wait_for_generation(found, 2)


# The messages


def test_an_order_carries_configuration_and_listeners(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "127.0.0.1:1"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, socket.socket() as first, socket.socket(socket.AF_UNIX) as second:
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            receive_order(theirs)
        memory = pack_config(config)
        for generation in (2, 3):  # every process reads the same memory file
            send_order(ours, generation, 4, memory, [first, second])
            order = receive_order(theirs)
            assert (order.generation, order.processes, order.config) == (generation, 4, config)
            assert order.config.upstreams["app"].found == (Address("127.0.0.1", 1),)
            assert [sock.family for sock in order.listeners] == [socket.AF_INET, socket.AF_UNIX]
            for sock in order.listeners:
                sock.close()
        socket.send_fds(ours, [b'{"generation": 4, "processes": 1, "descriptors": 3}'], [memory])
        with pytest.raises(OrderError) as caught:
            receive_order(theirs)
        assert caught.value.generation == 4
        send_report(theirs, 4, "x" * 10_000)
        assert receive_report(ours) == Report(4, "x" * 1000)
        ours.close()
        with pytest.raises(EOFError):
            receive_order(theirs)
        send_report(theirs, 4)  # nobody is there: nothing happens
        os.close(memory)


def test_a_listener_by_name_is_bound_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(_host: str, port: int, **_: object) -> list[object]:
        six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
        return [six, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    text = 'listen = ["web.test:80"]\n[upstream.a]\nprotocol = "http"\naddresses = ["b.test:1"]\n'
    config = parse_config(text, "g")
    assert config.listen == (Address("192.0.2.1", 80),)
    assert config.upstreams["a"].addresses == (Address("b.test", 1),)
    assert config.upstreams["a"].found == (Address("192.0.2.1", 1), Address("::1", 1))
