"""The architectures under test: list them, run one, inspect its processes."""

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
"""Those that HTTP clients can use without a gateway."""

ESSENTIAL = {
    "prefork", "thread", "select", "epoll-lt", "epoll-et", "coroutine", "c-extension", "go",
}  # fmt: skip
"""Those tested by `make test`, one or two of each kind; `make test-all` tests all."""


def _marks(spec: Spec) -> list[pytest.MarkDecorator]:
    marks = [] if spec.name in ESSENTIAL else [pytest.mark.long]
    return [*marks, pytest.mark.burns] if spec.name == "busy-poll" else marks


each = pytest.mark.parametrize(
    "spec",
    [pytest.param(spec, id=spec.name, marks=_marks(spec)) for spec in HTTP],
)
"""Runs a test with each HTTP architecture; `running` skips those that cannot run here."""

HELLO = b"Hello, world!\n"


class Running:
    """A listening server."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.address = process.wait_until_listening()

    def connect(self) -> RawClient:
        """Return a new connection to it."""
        return RawClient(self.address)

    def greets(self) -> bool:
        """Whether a new client gets the right answer."""
        with self.connect() as client:
            client.request("GET", "/hello", Connection="close")
            head, body = client.response()
            return head.status == 200 and body == HELLO

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.address}"

    @property
    def family(self) -> list[psutil.Process]:
        """The started process and all its descendants, including zombies."""
        leader = psutil.Process(self.process.pid)
        return [leader, *leader.children(recursive=True)]

    @property
    def descriptors(self) -> int:
        """The number of open descriptors of all its processes."""
        total = 0
        for process in self.family:
            # An exiting process has no memory left, so its /proc entries belong to root; it has
            # no descriptors either.
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.num_fds()
        return total

    def wait_until_steady(self) -> int:
        """Return the descriptor count once three readings agree: all workers have started."""
        seen = [self.descriptors]

        def is_steady() -> bool:
            time.sleep(0.1)  # between readings
            seen.append(self.descriptors)
            return seen[-3:].count(seen[-1]) == 3

        wait_until(is_steady, "its descriptor count is steady")
        return seen[-1]

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of all its processes so far."""
        total = 0.0
        for process in self.family:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    @property
    def resident_bytes(self) -> int:
        """The memory of all its processes (PSS): shared pages count once."""
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
    """Run an architecture until the block ends, with at most `files` descriptors per process.

    Skips the test if the architecture cannot run here.
    """
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
    """Whether a server accepts connections at `address`."""
    with socket.socket(address.family) as probe:
        probe.settimeout(2)
        return probe.connect_ex(address.sockaddr) == 0


def unix_address(folder: Path) -> str:
    """Return the address of a unix socket in `folder`."""
    return f"unix:{folder}/server.sock"
