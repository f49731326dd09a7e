"""The servers and chains of one stage, in a temporary folder; all stop when the stage ends."""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import psutil

from chainlab.transport import Address, parse_address
from lab.chain.backends import find_backend
from lab.chain.fronts import find_front
from lab.chain.processes import family_of, free_port, stop_part, terminate
from lab.chain.rundir import LabError, Part, RunDir
from loadtest.interrupts import interrupts_later

PATIENCE: Final = 20.0
"""Seconds to wait for a condition before giving up."""

_GRACE: Final = 1.0  # seconds to stop: no request of a finished step matters any more


class Sandbox:
    """A temporary folder and the parts started in it."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        atexit.register(self._stack.close)  # an interrupt may come before __exit__ has begun
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="chainlab-tour-"))
        self.run_dir = RunDir(Path(folder))
        self._servers: dict[str, Part] = {}
        self._number = 0
        return self

    def __exit__(self, *_: object) -> None:
        with interrupts_later():  # a closing terminal sends SIGHUP and ends the input
            self._stack.close()
        atexit.unregister(self._stack.close)

    def server(self, name: str, workers: int = 4) -> Part:
        """Return an HTTP server of this architecture on 127.0.0.1, started at the first call."""
        running = self._servers.get(name)
        if running is None or running.process is None:
            listen = Address("127.0.0.1", free_port())
            backend = find_backend(name)
            self._number += 1
            with interrupts_later():  # an interrupt before _keep would leave the server behind
                running = backend.start(self.run_dir, workers, self._number, address=listen)
                self._servers[name] = self._keep(running)
        return running

    def chain(self, front: str, backend: str, workers: int) -> tuple[Part, Part]:
        """Start a back end on a unix socket and a front for it; return (front, back end)."""
        described = find_backend(backend)
        self._number += 1
        with interrupts_later():
            back = self._keep(described.start(self.run_dir, workers, self._number))
        listen = Address("127.0.0.1", free_port())
        kind = find_front(front)
        with interrupts_later():
            ahead = self._keep(kind.start(self.run_dir, listen, described, back.address, workers))
        return ahead, back

    def _keep(self, part: Part) -> Part:
        self._stack.callback(stop_part, part, _GRACE)
        return part

    def run(self, arguments: Sequence[str]) -> str:
        """Run a lab command and return its output; an interrupt ends the command too."""
        command = [sys.executable, "-m", "lab", *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "COLUMNS": "96"}, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                said, _ = process.communicate()
            except BaseException:
                terminate(process)
                raise
        if process.returncode:
            raise LabError(f"lab {' '.join(arguments)}: {said.strip().splitlines()[-1]}")
        return said


def children(part: Part) -> list[psutil.Process]:
    """Return the running processes that a part's leader started."""
    return family_of(part)[1:]


def has_client(process: psutil.Process, part: Part) -> bool:
    """Return True if this process of a part holds an accepted connection."""
    address = parse_address(part.address)
    if not address.path:
        found = process.net_connections("tcp")
        return any(each.status == psutil.CONN_ESTABLISHED for each in found)
    sockets = [each for each in process.net_connections("unix") if each.laddr == address.path]
    return len(sockets) > 1  # one of them is the listener


def threads(part: Part) -> int:
    """Return the number of threads of a part, over all its processes."""
    total = 0
    for process in family_of(part):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.num_threads()
    return total


@contextlib.contextmanager
def stopped(part: Part) -> Iterator[None]:
    """Stop a part's leader (SIGSTOP), all its threads, while the block runs."""
    os.kill(part.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: _states(part.pid) == {"T"}, f"{part.name} has stopped")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(part.pid, signal.SIGCONT)


def _states(pid: int) -> set[str]:
    stats = (task / "stat" for task in Path(f"/proc/{pid}/task").iterdir())
    return {stat.read_text().rpartition(")")[2].split()[0] for stat in stats}


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Return once the condition holds; LabError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s, but never saw that {what}")
        time.sleep(0.01)
