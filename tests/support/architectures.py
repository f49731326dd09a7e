"""Architectures for the tests: which there are, one of them running, what its processes hold."""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from chainlab.transport import Address
from servers.common.registry import SPECS, Spec
from tests.support.gateway import RawClient
from tests.support.processes import Process, wait_until

HTTP = [spec for spec in SPECS.values() if spec.protocol == "http"]
"""Those that a client may ask straight."""

ESSENTIAL = {
    "prefork", "thread", "select", "epoll-lt", "epoll-et", "coroutine", "c-extension", "go",
}  # fmt: skip
"""Those that `make test` tries: one or two of each kind. `make test-all` tries all."""


def _marks(spec: Spec) -> list[pytest.MarkDecorator]:
    marks = [] if spec.name in ESSENTIAL else [pytest.mark.long]
    return [*marks, pytest.mark.burns] if spec.name == "busy-poll" else marks


each = pytest.mark.parametrize(
    "spec",
    [pytest.param(spec, id=spec.name, marks=_marks(spec)) for spec in HTTP],
)
"""Runs a test with each of them; one that cannot run here is skipped by `running`."""

HELLO = b"Hello, world!\n"


class Running:
    """A server that listens."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.address = process.wait_until_listening()

    def connect(self) -> RawClient:
        """Return a new connection to it."""
        return RawClient(self.address)

    def greets(self) -> bool:
        """Whether a client of its own is answered as it should be."""
        with self.connect() as client:
            client.request("GET", "/hello", Connection="close")
            head, body = client.response()
            return head.status == 200 and body == HELLO

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.address}"

    @property
    def family(self) -> list[psutil.Process]:
        """The process that was started and all that descend from it, zombies too."""
        leader = psutil.Process(self.process.pid)
        return [leader, *leader.children(recursive=True)]

    @property
    def descriptors(self) -> int:
        """How many descriptors its processes have open."""
        total = 0
        for process in self.family:
            # One that is just exiting belongs to root (its memory is gone): no descriptors either.
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.num_fds()
        return total

    def wait_until_steady(self) -> int:
        """Return how many descriptors it has once that stays the same: its workers have started."""
        seen = [self.descriptors]

        def is_steady() -> bool:
            time.sleep(0.1)  # between two looks
            seen.append(self.descriptors)
            return seen[-3:].count(seen[-1]) == 3

        wait_until(is_steady, "its descriptors are steady")
        return seen[-1]

    @property
    def cpu_seconds(self) -> float:
        """CPU time that its processes have used so far."""
        total = 0.0
        for process in self.family:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    @property
    def resident_bytes(self) -> int:
        """Memory of its processes; what several share counts once (PSS): a fork costs nothing."""
        total = 0
        for process in self.family:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss
        return total


@contextlib.contextmanager
def running(
    spec: Spec,
    listen: str = "127.0.0.1:0",
    workers: int = 4,
    files: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Run an architecture until the block ends, with at most `files` descriptors; skips if it
    cannot run here."""
    reason = spec.unavailable()
    if reason is not None:
        pytest.skip(f"{spec.name}: {reason}")
    command = [sys.executable, "-m", "servers", spec.name, "--listen", listen]
    command += ["--workers", str(workers)]
    if files is not None:
        command = ["prlimit", f"--nofile={files}:{files}", *command]
    with Process(command, environment=environment) as process:
        yield Running(process)


def in_group(pgid: int) -> list[int]:
    """Return the living processes of a process group."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def connects(address: Address) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket(address.family) as probe:
        probe.settimeout(2)
        return probe.connect_ex(address.sockaddr) == 0


def unix_address(folder: Path) -> str:
    """Return an address in `folder`."""
    return f"unix:{folder}/server.sock"
