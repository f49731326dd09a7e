"""Real server processes for tests: start them, wait for them, read their stderr, always end them.

A server is ready when it prints `listening on ADDRESS` to stderr, not after a sleep. A thread reads
stderr continuously, so the pipe never fills up and a failing test can show the output. Each server
leads its own process group, which contains everything it forks: killing the group leaves nothing
behind, even if the server was killed and its children were orphaned.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import pytest

from chainlab.transport import Address, parse_address

PATIENCE: Final = 30.0
"""Seconds to wait for a condition before failing; generous, because the machine is shared."""

_LISTENING: Final = "listening on "


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Return as soon as `condition` holds; AssertionError naming `what` if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain until {what}"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Whether `pid` exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def child_pids(pid: int) -> set[int]:
    """Return the living children of `pid`, from /proc."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - glob looks inside
        with contextlib.suppress(OSError):  # ended meanwhile
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found.add(int(name))
    return found


def open_files(pid: int) -> list[str]:
    """Return the targets of the descriptors of `pid` as in /proc: paths, socket:[...]."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed in the meantime
            found.append(str(entry.readlink()))
    return found


@contextlib.contextmanager
def descriptors(needed: int) -> Iterator[None]:
    """Allow this process `needed` descriptors, and its children; skip if the hard limit is lower.

    A user has 1024 by default (man 2 getrlimit), and root in a container often more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"{needed} descriptors are needed, {hard} allowed: raise ulimit -Hn")
    enough = soft == resource.RLIM_INFINITY or soft >= needed
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft if enough else needed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_kib(pid: int) -> int:
    """Return the resident set of `pid` in KiB."""
    return _status_kib(pid, "VmRSS")


def peak_kib(pid: int) -> int:
    """Return the peak resident set of `pid` in KiB."""
    return _status_kib(pid, "VmHWM")


def _status_kib(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise LookupError(f"{field} of process {pid}")


class Process:
    """A server process; a context manager that ends it and everything it forked."""

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._popen = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The pid of the started process: the master of a prefork server."""
        return self._popen.pid

    @property
    def children(self) -> set[int]:
        """The pids of its living children."""
        return child_pids(self.pid)

    @property
    def stderr(self) -> str:
        """Its stderr so far."""
        return "".join(self._lines)

    def _collect(self) -> None:
        assert self._popen.stderr is not None
        for line in self._popen.stderr:
            self._lines.append(line)

    def _bound(self) -> list[str]:
        lines = [line for line in self._lines if line.startswith(_LISTENING)]
        return [line.removeprefix(_LISTENING).strip() for line in lines]

    def wait_until_listening(self) -> Address:
        """Wait until it listens; return the address that it printed."""
        wait_until(lambda: self._bound() or self._popen.poll() is not None, "the server listens")
        assert self._bound(), f"the server did not start:\n{self.stderr}"
        return parse_address(self._bound()[0])

    def wait_for_stderr(self, text: str, times: int = 1) -> None:
        """Return when stderr contains `text`; AssertionError with its stderr if it never does."""
        try:
            wait_until(lambda: self.stderr.count(text) >= times, f"stderr contains {text!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.stderr}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process only, not to its children."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end, read the rest of stderr; return the exit code (negative: a signal)."""
        code = self._popen.wait(seconds)
        self._reader.join(seconds)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process by SIGTERM, then kill its whole process group."""
        if self._popen.poll() is None:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(10)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(10)
        self._reader.join(10)
        assert self._popen.stderr is not None
        self._popen.stderr.close()


@contextlib.contextmanager
def running_worker(
    application: str, *options: str, bind: str, cwd: Path | None = None
) -> Iterator[tuple[Process, Address]]:
    """Run `python -m fcgi_worker` until the block ends; yields the process and its address."""
    command = [sys.executable, "-m", "fcgi_worker", application, "--bind", bind, *options]
    with Process(command, cwd=cwd) as process:
        yield process, process.wait_until_listening()
