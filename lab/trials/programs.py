"""The programs of a trial: started, found again with all their processes, ended for certain.

Everything that a trial starts inherits a token in its environment, so what outlives its parent is
found in /proc, wherever it was adopted.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import psutil

from chainlab.transport import Address, parse_address
from lab.chain.rundir import LabError

PATIENCE: Final = 60.0
"""Seconds to wait for what must happen, before a trial fails; the machine may be busy."""

_LISTENING: Final = "listening on "
_TOKEN: Final = "CHAINLAB_TRIAL"


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> float:
    """Return the seconds until `condition` holds; LabError naming `what` if it never does."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            raise LabError(f"waited {seconds:g} s in vain until {what}")
        time.sleep(0.005)
    return time.monotonic() - begun


class Program:
    """A started program; a context manager that ends it and all that it started.

    `log` receives its stderr; `source`, a descriptor, is its stdin. `output`, a descriptor, takes
    stdout and stderr instead; then `log` is what the reader of the descriptor writes.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        source: int = subprocess.DEVNULL,
        output: int | None = None,
    ) -> None:
        self.log = log
        self.token = uuid.uuid4().hex
        self._skip = log.stat().st_size if log.exists() else 0
        with log.open("ab") as stderr:
            self._popen = subprocess.Popen(
                command,
                stdin=source,
                stdout=subprocess.DEVNULL if output is None else output,
                stderr=stderr if output is None else output,
                env={**os.environ, _TOKEN: self.token},
                start_new_session=True,
            )
        self.address = Address("127.0.0.1", 0)

    @property
    def pid(self) -> int:
        """The pid of the started process, a master."""
        return self._popen.pid

    @property
    def said(self) -> str:
        """What was written to its log since it started."""
        return self.log.read_bytes()[self._skip :].decode(errors="replace")

    def wait_until_listening(self) -> Address:
        """Wait until it listens; return its first address. LabError with its log if it does not."""

        def heard() -> str | None:
            found = [line for line in self.said.splitlines() if line.startswith(_LISTENING)]
            return found[0].removeprefix(_LISTENING).strip() if found else None

        wait_for(lambda: heard() or self._popen.poll() is not None, f"{self.log} says it listens")
        address = heard()
        if address is None:
            raise LabError(f"a program did not start: {self.said.strip()[-2000:]}")
        self.address = parse_address(address)
        return self.address

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master only."""
        self._popen.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """Return the exit code, or None if it still runs after `seconds`."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def processes(self) -> set[int]:
        """Return the pids of everything that carries the program's token and is alive."""
        return _bearers(self.token)

    def children(self) -> set[int]:
        """Return the pids of the master's own children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return {each.pid for each in psutil.Process(self.pid).children()} & self.processes()
        return set()

    def limit(self, name: int, value: int | None) -> None:
        """Set a soft limit of all its processes (man 2 prlimit); None restores the hard limit."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                _, hard = resource.prlimit(pid, name)
                resource.prlimit(pid, name, (hard if value is None else value, hard))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._popen.poll() is None:
            self._popen.terminate()
            self.wait(10.0)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._popen.wait(10.0)


def _bearers(token: str) -> set[int]:
    wanted = f"{_TOKEN}={token}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes() and _is_running(folder):
                found.add(int(folder.name))
    return found


def _is_running(folder: Path) -> bool:
    return (folder / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"


def resident_mib(pids: set[int]) -> float:
    """Return the resident memory of the processes together, in MiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += psutil.Process(pid).memory_info().rss
    return total / (1 << 20)


@contextlib.contextmanager
def worker(
    folder: Path,
    *options: str,
    name: str = "worker",
    bind: str = "",
    application: str = "lab.trials.application:application",
    prefix: Sequence[str] = (),
    log: Path | None = None,
    output: int | None = None,
) -> Iterator[Program]:
    """Run a worker at `bind`, or on a unix socket in `folder` called `name`.sock."""
    bind = bind or f"unix:{folder / name}.sock"
    command = [*prefix, sys.executable, "-m", "fcgi_worker", application, "--bind", bind, *options]
    log = log or folder / f"{name}.log"
    with Program(command, log, output=output) as program:
        program.wait_until_listening()
        yield program


@contextlib.contextmanager
def gateway(
    folder: Path,
    config: str,
    *,
    name: str = "gateway",
    prefix: Sequence[str] = (),
    output: int | None = None,
    log: Path | None = None,
) -> Iterator[Program]:
    """Run a gateway with the configuration `config`, written to `name`.toml in `folder`."""
    path = folder / f"{name}.toml"
    path.write_text(config)
    command = [*prefix, sys.executable, "-m", "gateway", "--config", str(path)]
    log = log or folder / f"{name}.log"
    with Program(command, log, output=output) as program:
        program.wait_until_listening()
        yield program


def configuration(
    upstream: Address | str,
    *,
    protocol: str = "fastcgi",
    listen: str = "127.0.0.1:0",
    workers: int = 1,
    access: str = "off",
    error: str = "-",
    more: str = "",
) -> str:
    """Return a configuration with one upstream called `app`; `more` may add tables."""
    return (
        f'listen = ["{listen}"]\nworkers = {workers}\nstatus_path = "/-/status"\n'
        f'[log]\naccess = "{access}"\nerror = "{error}"\n'
        f'[upstream.app]\nprotocol = "{protocol}"\naddresses = ["{upstream}"]\n{more}'
    )
