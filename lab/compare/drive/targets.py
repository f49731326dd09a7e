"""The targets: each back end with its front, and the baseline.

An HTTP back end is reached directly or through the chosen front. A FastCGI back end needs a front:
the gateway unless another is chosen. The baseline is always reached directly: it shows the
generator's ceiling and is not ranked.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from chainlab.transport import Address, bind_listener, bound_address
from lab.chain.backends import Backend
from lab.chain.fronts import find_front
from lab.chain.processes import free_port, start_part, stop_part
from lab.chain.rundir import LabError, Part, RunDir
from lab.compare.drive.budget import START
from lab.compare.result import Architecture, Manifest
from loadtest import baseline

STRAIGHT: Final = "none"
BASELINE: Final = "baseline"
BASELINE_SERVER: Final = Architecture(
    BASELINE, "epoll in C with a fixed answer", "none", "http", STRAIGHT, True, "", "", {}
)
_GRACE: Final = 3.0  # seconds to end after SIGTERM; its clients have gone


@dataclass(frozen=True, slots=True)
class Instance:
    """A running target: its URL, and the parts whose cost counts."""

    url: str
    parts: dict[str, Part]  # "front", "back"


Start = Callable[[RunDir, int, ExitStack], Instance]


@dataclass(frozen=True, slots=True)
class Target:
    """A target that can be started; `start` gets a folder, workers, and a stack that stops it."""

    described: Architecture
    start: Start
    resident: bool = True
    """False: it burns CPU when idle, so it runs only during its own trials."""

    @property
    def name(self) -> str:
        """The architecture's id."""
        return self.described.name


class Where(Protocol):
    """Where the parts run: as processes of this machine, or in containers."""

    seconds_to_start: float
    """To start, warm up and stop an instance."""

    def lacking(self, backend: Backend, front: str) -> str:
        """Return why `backend` and `front` cannot run there; "" if they can."""

    def prepare(self, chosen: list[Target]) -> None:
        """Prepare these targets, before the clock starts."""

    def start(
        self, backend: Backend, front: str, run_dir: RunDir, workers: int, stack: ExitStack
    ) -> Instance:
        """Start `backend` behind `front`; `stack` stops them. LabError if they do not start."""

    def baseline(self, folder: Path) -> Target | None:
        """Return the baseline; None if it cannot be built."""

    def describe(self, manifest: Manifest) -> Manifest:
        """Return the manifest, with what differs from a native run."""


class ThisMachine:
    """Runs parts as processes on 127.0.0.1."""

    seconds_to_start: float = START

    def lacking(self, backend: Backend, front: str) -> str:
        """Return what is not installed; "" if nothing is missing."""
        lacking = backend.unavailable() or ""
        if not lacking and front != STRAIGHT:
            lacking = find_front(front).unavailable() or ""
        return lacking

    def prepare(self, chosen: list[Target]) -> None:
        """Do nothing: there are no images to build."""

    def start(
        self, backend: Backend, front: str, run_dir: RunDir, workers: int, stack: ExitStack
    ) -> Instance:
        """Start `backend`, behind `front` unless that is "none", in `run_dir`."""
        listen = Address("127.0.0.1", free_port())
        if front == STRAIGHT:
            back = backend.start(run_dir, workers, 1, address=listen)
            stack.callback(stop_part, back, _GRACE)
            return Instance(f"http://{listen}", {"back": back})
        back = backend.start(run_dir, workers, 1)
        stack.callback(stop_part, back, _GRACE)
        before = find_front(front).start(run_dir, listen, backend, back.address, workers)
        # The front stops first: its kept connections would hold up the back end's stop.
        stack.callback(stop_part, before, _GRACE)
        return Instance(f"http://{listen}", {"front": before, "back": back})

    def baseline(self, folder: Path) -> Target | None:
        """Return the baseline, compiled into `folder`; None without a compiler."""
        return make_baseline(folder)

    def describe(self, manifest: Manifest) -> Manifest:
        """Return the manifest unchanged."""
        return manifest


HERE: Final = ThisMachine()


def of_backend(backend: Backend, front: str, where: Where = HERE) -> Target:
    """Return a back end as a target behind `front`; "none" reaches HTTP back ends directly."""
    spec = backend.spec
    before = "gateway" if front == STRAIGHT and backend.protocol == "fastcgi" else front
    described = Architecture(
        name=backend.name,
        title=spec.title,
        family=spec.family,
        protocol=backend.protocol,
        front=before,
        keep_alive=spec.keep_alive,
        note=_note(backend, before if before != front else ""),
        unavailable=where.lacking(backend, before),
        idle_bytes={},
    )

    def start(run_dir: RunDir, workers: int, stack: ExitStack) -> Instance:
        return where.start(backend, before, run_dir, workers, stack)

    return Target(described, start, resident=spec.mode != "busy polling")


def _note(backend: Backend, added: str) -> str:
    spec = backend.spec
    notes = (
        (f"FastCGI: behind the {added}", bool(added)),
        ("closes each connection: a handshake in each request", not spec.keep_alive),
        ("serves one connection at a time", spec.concurrency == "one"),
        ("a fixed number of workers", spec.concurrency == "workers"),
        ("burns a core, busy or idle", spec.mode == "busy polling"),
    )
    return "; ".join(text for text, holds in notes if holds)


def make_baseline(folder: Path) -> Target | None:
    """Return the baseline, compiled into `folder`; None without a compiler."""
    try:
        program = baseline.build(folder)
    except baseline.NoCompiler:
        return None

    def start(run_dir: RunDir, _workers: int, stack: ExitStack) -> Instance:
        with bind_listener(Address("127.0.0.1", 0)) as listener:
            command = [str(program), str(listener.fileno())]
            address = bound_address(listener)
            part = start_part(BASELINE, command, address, run_dir, bound=listener)
        stack.callback(stop_part, part, 0)
        return Instance(f"http://{address}", {"back": part})

    return Target(BASELINE_SERVER, start)


def choose(
    names: list[str], backends: dict[str, Backend], front: str, where: Where = HERE
) -> list[Target]:
    """Return the targets named; "all" means all. LabError lists the known ids."""
    unknown = [name for name in names if name not in backends and name != "all"]
    if unknown:
        raise LabError(f"no back end {unknown[0]!r}; choose from: all, {', '.join(backends)}")
    chosen = list(backends) if "all" in names else list(dict.fromkeys(names))
    return [of_backend(backends[name], front, where) for name in chosen]
