"""What a stage starts: servers and chains in a folder of its own; all stopped at its end."""

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
from lab.chain.processes import family_of, free_port, stop_part
from lab.chain.rundir import LabError, Part, RunDir
from loadtest.interrupts import interrupts_later

PATIENCE: Final = 20.0
"""Seconds until what must come counts as never."""

_GRACE: Final = 1.0  # seconds to stop: nobody waits for what a finished step started


class Sandbox:
    """A folder, and the parts started in it."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        atexit.register(self._stack.close)  # an interrupt may come before __exit__ has begun
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="chainlab-tour-"))
        self.run_dir = RunDir(Path(folder))
        self._servers: dict[str, Part] = {}
        self._number = 0
        return self

    def __exit__(self, *_: object) -> None:
        with interrupts_later():  # a closed terminal says so twice
            self._stack.close()
        atexit.unregister(self._stack.close)

    def server(self, name: str, workers: int = 4) -> Part:
        """Return an architecture that speaks HTTP, listening on 127.0.0.1; the same each time."""
        running = self._servers.get(name)
        if running is None or running.process is None:
            listen = Address("127.0.0.1", free_port())
            backend = find_backend(name)
            self._number += 1
            with interrupts_later():  # started and not yet kept, a server would be left behind
                running = backend.start(self.run_dir, workers, self._number, address=listen)
                self._servers[name] = self._keep(running)
        return running

    def chain(self, front: str, backend: str, workers: int) -> tuple[Part, Part]:
        """Start a back end on a unix socket and a front before it; return the front first."""
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
        """Run a lab command; return what it printed. Whatever ends us ends it, as Ctrl-C would."""
        command = [sys.executable, "-m", "lab", *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "COLUMNS": "96"}, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                said, _ = process.communicate()
            except BaseException:
                process.terminate()
                process.communicate()
                raise
        if process.returncode:
            raise LabError(f"lab {' '.join(arguments)}: {said.strip().splitlines()[-1]}")
        return said


def children(part: Part) -> list[psutil.Process]:
    """Return the living processes that a part's leader has started."""
    return family_of(part)[1:]


def has_client(process: psutil.Process, part: Part) -> bool:
    """Return whether a process of a part holds a connection that was made to its address."""
    address = parse_address(part.address)
    if not address.path:
        found = process.net_connections("tcp")
        return any(each.status == psutil.CONN_ESTABLISHED for each in found)
    sockets = [each for each in process.net_connections("unix") if each.laddr == address.path]
    return len(sockets) > 1  # one listens


def threads(part: Part) -> int:
    """Return how many threads a part has, in all its processes."""
    total = 0
    for process in family_of(part):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.num_threads()
    return total


@contextlib.contextmanager
def stopped(part: Part) -> Iterator[None]:
    """Hold a part's leader (SIGSTOP): it is there and does nothing, in none of its threads."""
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
    """Return as soon as it holds; LabError naming `what` when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s in vain until {what}")
        time.sleep(0.01)
