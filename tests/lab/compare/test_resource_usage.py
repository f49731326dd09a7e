"""What a part has used, and whether it has taken its clients: of real processes, from /proc."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil
import pytest

from chainlab.transport import Address
from lab.chain.processes import start_part
from lab.chain.rundir import Part, RunDir
from lab.compare.measure import resource_usage
from tests.support.processes import Process, wait_until

CLIENTS: Final = 20

SLOW: Final = """
import socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", 0))
print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
kept = []
while len(kept) < int(sys.argv[1]):
    kept.append(listener.accept())
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    time.sleep(0.02)
time.sleep(600)
"""
"""Takes so many clients, one after the other, with a thread for each; then no more."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that the other tests keep from the CPU for a moment has not settled."""
    monkeypatch.setattr(resource_usage, "PATIENCE", 60.0)
    monkeypatch.setattr(resource_usage, "_STEADY", 0.5)
    monkeypatch.setattr(resource_usage, "_RESIGNED", 2.0)


@contextmanager
def slow(clients: str) -> Iterator[tuple[Process, Part, int]]:
    with Process([sys.executable, "-c", SLOW, clients]) as process, ExitStack() as stack:
        address = process.wait_until_listening()
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(("127.0.0.1", address.port)))
        started = psutil.Process(process.pid).create_time()
        yield process, Part("slow", process.pid, started, str(address)), address.port


def test_a_server_has_settled_when_it_has_taken_its_clients() -> None:
    with slow(str(CLIENTS)) as (process, part, port):
        assert resource_usage.settle([part], port)
        assert resource_usage.waiting(part, port) == 0
        assert psutil.Process(process.pid).num_threads() == 1 + CLIENTS


def test_a_server_that_takes_no_more_has_settled_too() -> None:
    with slow("3") as (process, part, port):
        assert resource_usage.settle([part], port)
        assert resource_usage.waiting(part, port) == CLIENTS - 3
        assert psutil.Process(process.pid).num_threads() == 1 + 3


def test_the_wait_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_usage, "PATIENCE", 0.5)
    with slow("3") as (_, part, port):
        assert not resource_usage.settle([part], port)


def test_nobody_waits_for_a_server_that_is_gone() -> None:
    with slow("0") as (_, part, port):
        pass
    assert part.process is None
    assert resource_usage.settle([part], port)
    assert resource_usage.used(part) is None


@contextmanager
def spinning(folder: Path) -> Iterator[Part]:
    """A part that listens and burns CPU."""
    path = folder / "spin.sock"
    bind = f"l = s.socket(s.AF_UNIX); l.bind({str(path)!r}); l.listen()"
    code = f"import socket as s; {bind}\nwhile 1: 0"
    address = Address(path=str(path))
    part = start_part("spin", [sys.executable, "-c", code], address, RunDir(folder))
    try:
        yield part
    finally:
        assert part.process is not None
        part.process.kill()
        wait_until(lambda: part.process is None, "it is gone")


def test_a_footprint_grows_and_ends(tmp_path: Path) -> None:
    with spinning(tmp_path) as part:
        before = resource_usage.used(part)
        deadline = time.monotonic() + 20
        after = resource_usage.used(part)
        while after and before and after.seconds < before.seconds + 0.05:
            assert time.monotonic() < deadline
            after = resource_usage.used(part)
        assert before is not None
        assert after is not None
        cost = resource_usage.cost(before, after, 1000)
        assert cost is not None
        spent = (after.seconds - before.seconds) * 1000
        assert cost.user_us + cost.kernel_us == pytest.approx(spent)
        assert cost.threads == 1
        assert resource_usage.cost(before, after, 0) is None
        assert resource_usage.cost(after, before, 1000) is None
    assert resource_usage.used(part) is None
    assert resource_usage.cost(before, None, 1000) is None
