"""The back ends that can stand at the end of the chain, and how each is started.

Our own worker, every architecture of `servers`, and php-fpm where it is installed. All serve the
one application, all listen on a unix socket in the run folder, all get the same number of workers.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.processes import start_part
from lab.rundir import LabError, Part, RunDir
from servers.outside import php_fpm
from servers.registry import SPECS, Spec
from transport import Address

Commands = Callable[[Address, int, Path], list[str]]


@dataclass(frozen=True, slots=True)
class Backend:
    """One back end; `connections` is what a front may open to it, None: as it says itself."""

    name: str
    title: str
    protocol: str  # "fastcgi" or "http"
    model: str
    command: Commands
    unavailable: Callable[[], str | None]
    pins: str = ""  # what a kept connection holds: a worker of "workers", or the "one" there is
    script: str = ""  # what FastCGI calls SCRIPT_FILENAME, where the back end needs one

    def start(self, run_dir: RunDir, workers: int, number: int) -> Part:
        """Start it; LabError when this machine lacks something, or it does not listen."""
        if reason := self.unavailable():
            raise LabError(f"{self.name} cannot run here: {reason}")
        address = Address(path=str(run_dir.path / f"backend-{number}.sock"))
        folder = run_dir.path / f"backend-{number}"
        folder.mkdir(exist_ok=True)
        command = self.command(address, workers, folder)
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


def _without_php_fpm() -> str | None:
    if php_fpm.find_php_fpm() is None:
        return "php-fpm is not installed: run sudo apt install php-fpm"
    return None


def _of(spec: Spec) -> Backend:
    def command(address: Address, workers: int, _folder: Path) -> list[str]:
        options = ["--listen", str(address), "--workers", str(workers)]
        return [sys.executable, "-m", "servers", spec.name, *options]

    model = f"processes: {spec.processes}; threads: {spec.threads}"
    pins = "" if spec.concurrency == "connections" else spec.concurrency
    return Backend(
        spec.name, spec.title, spec.protocol, model, command, spec.unavailable, pins=pins
    )


_ALL = [
    Backend(
        name="fcgi-worker",
        title="our worker manager",
        protocol="fastcgi",
        model="processes: a master and N children; threads: one",
        command=_fcgi_worker,
        unavailable=lambda: None,
    ),
    *(_of(spec) for spec in SPECS.values()),
    Backend(
        name="php-fpm",
        title="PHP's own worker manager",
        protocol="fastcgi",
        model="processes: a master and N children; threads: one",
        command=_php_fpm,
        unavailable=_without_php_fpm,
        pins="workers",
        script=str(php_fpm.INDEX),
    ),
]

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _ALL}


def find_backend(name: str) -> Backend:
    """Return the back end `name`; LabError with the names there are."""
    if name not in BACKENDS:
        raise LabError(f"no back end {name!r}; choose from: {', '.join(BACKENDS)}")
    return BACKENDS[name]
