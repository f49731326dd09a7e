"""Real server processes for the tests: started, awaited, listened to, always ended.

A server is ready when it says so (`listening on ADDRESS` on stderr), not after a sleep. Its
stderr is read by a thread as it comes, so that no pipe fills up and a failing test can show it.
Each server leads a process group of its own, which holds whatever it forks: ending the group by
the leader's pid leaves nothing behind, even of a server that was killed and lost its children.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from chainlab.transport import Address, parse_address

PATIENCE: Final = 30.0
"""Seconds until a condition that must come counts as never: generous, the machine is shared."""

_LISTENING: Final = "listening on "


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Return as soon as `condition` holds; AssertionError naming `what` when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain until {what}"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def child_pids(pid: int) -> set[int]:
    """Return the living children of `pid`, by /proc."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - glob looks inside
        with contextlib.suppress(OSError):  # ended meanwhile
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found.add(int(name))
    return found


def open_files(pid: int) -> list[str]:
    """Return what the descriptors of `pid` lead to, as /proc names it: paths, socket:[...]."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(str(entry.readlink()))
    return found


def resident_kib(pid: int) -> int:
    """Return the resident set of `pid` in KiB."""
    return _status_kib(pid, "VmRSS")


def peak_kib(pid: int) -> int:
    """Return the largest resident set that `pid` ever had, in KiB."""
    return _status_kib(pid, "VmHWM")


def _status_kib(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise LookupError(f"{field} of process {pid}")


class Process:
    """A server process, a context manager: it and what it forked are gone at the end."""

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
        """The process that was started: the master of a prefork server."""
        return self._popen.pid

    @property
    def children(self) -> set[int]:
        """The pids of its living children."""
        return child_pids(self.pid)

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return "".join(self._lines)

    def _collect(self) -> None:
        assert self._popen.stderr is not None
        for line in self._popen.stderr:
            self._lines.append(line)

    def _bound(self) -> list[str]:
        lines = [line for line in self._lines if line.startswith(_LISTENING)]
        return [line.removeprefix(_LISTENING).strip() for line in lines]

    def wait_until_listening(self) -> Address:
        """Return the address it says it listens on."""
        wait_until(lambda: self._bound() or self._popen.poll() is not None, "the server listens")
        assert self._bound(), f"the server did not start:\n{self.stderr}"
        return parse_address(self._bound()[0])

    def wait_for_stderr(self, text: str, times: int = 1) -> None:
        """Return when `text` has been said; AssertionError with all it said when it never is."""
        try:
            wait_until(lambda: self.stderr.count(text) >= times, f"stderr says {text!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.stderr}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, not to its children."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Return the exit code; negative for a signal. All of stderr has been read then."""
        code = self._popen.wait(seconds)
        self._reader.join(seconds)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the whole process group: politely first, then for good."""
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
    """Run `python -m fcgi_worker` until the block ends; gives the process and its address."""
    command = [sys.executable, "-m", "fcgi_worker", application, "--bind", bind, *options]
    with Process(command, cwd=cwd) as process:
        yield process, process.wait_until_listening()
