"""The back ends of the chain, and the commands that start them.

These are our own worker, every architecture in `servers`, and php-fpm if installed. All serve the
same application with the same number of workers. By default a back end listens on a unix socket
in the run folder; a caller that connects to it directly passes an address.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chainlab.transport import Address
from lab.chain.processes import start_part
from lab.chain.rundir import LabError, Part, RunDir
from lab.chain.worker_managers import FCGI_WORKER, PHP_FPM
from servers.app import contract
from servers.common.registry import SPECS, Spec
from servers.php import php_fpm

Commands = Callable[[Address, int, Path], list[str]]


@dataclass(frozen=True, slots=True)
class Backend:
    """One back end: its description, and the command that starts it."""

    spec: Spec
    command: Commands
    timing: tuple[str, ...] = ()  # options that make it report where the time goes
    access_log: str = ""  # the option that names its access log, if the log has timings too
    script: str = ""  # value of SCRIPT_FILENAME, if the back end needs one (FastCGI)

    @property
    def name(self) -> str:
        """The id."""
        return self.spec.name

    @property
    def protocol(self) -> Literal["fastcgi", "http"]:
        """The protocol it speaks."""
        return self.spec.protocol

    @property
    def pins(self) -> Literal["", "one", "workers"]:
        """What a kept connection occupies: one of the "workers", the only one ("one"), or ""."""
        return "" if self.spec.concurrency == "connections" else self.spec.concurrency

    def unavailable(self) -> str | None:
        """Return why it cannot run here and how to fix that, or None if it can."""
        return self.spec.unavailable()

    def broken_rules(self, url: str, *, quick: bool) -> list[contract.Failure]:
        """Check the contract at `url`; return the failures that its Spec does not except."""
        excepted = dict(self.spec.exceptions)
        failures = contract.verify(url, quick)
        return [failure for failure in failures if failure.name not in excepted]

    def start(
        self,
        run_dir: RunDir,
        workers: int,
        number: int,
        *,
        address: Address | None = None,
        tracer: Sequence[str] = (),
        timed: bool = False,
    ) -> Part:
        """Start it; LabError if this machine lacks something or it does not listen.

        `number` keeps its socket name unique in the folder. `tracer` is a command prefix, such as
        strace. `timed` makes it report where the time goes, if it can.
        """
        if reason := self.unavailable():
            raise LabError(f"{self.name} cannot run here: {reason}")
        address = address or Address(path=str(run_dir.path / f"backend-{number}.sock"))
        folder = run_dir.path / f"backend-{number}"
        folder.mkdir(exist_ok=True)
        command = [*tracer, *self.command(address, workers, folder)]
        if timed:
            command += self.timing
            if self.access_log:
                command += [self.access_log, str(run_dir.path / f"{self.name}-access.log")]
        environment = {"CHAINLAB_ARCHITECTURE": self.name}
        return start_part(self.name, command, address, run_dir, environment)


def _fcgi_worker(address: Address, workers: int, _folder: Path) -> list[str]:
    application = "servers.app.wsgi:application"
    options = ["--bind", str(address), "--workers", str(workers)]
    return [sys.executable, "-m", "fcgi_worker", application, *options]


def _php_fpm(address: Address, workers: int, folder: Path) -> list[str]:
    program = php_fpm.find_php_fpm()
    assert program is not None
    return php_fpm.make_command(program, php_fpm.write_config(folder, address, workers))


def of_spec(spec: Spec) -> Backend:
    """Return the back end for an architecture of `servers`."""

    def command(address: Address, workers: int, _folder: Path) -> list[str]:
        options = ["--listen", str(address), "--workers", str(workers)]
        return [sys.executable, "-m", "servers", spec.name, *options]

    return Backend(spec, command)


_ALL = [
    Backend(FCGI_WORKER, _fcgi_worker, ("--server-timing",), "--access-log"),
    *map(of_spec, SPECS.values()),
    Backend(PHP_FPM, _php_fpm, script=str(php_fpm.INDEX)),
]

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _ALL}


def find_backend(name: str) -> Backend:
    """Return the back end `name`; LabError listing all names if there is none."""
    if name not in BACKENDS:
        raise LabError(f"no back end {name!r}; choose from: {', '.join(BACKENDS)}")
    return BACKENDS[name]
