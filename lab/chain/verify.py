"""`lab verify`: runs all contract checks on each back end, directly and through the gateway.

Each of the two ways uses a fresh instance: directly on a TCP port, and through the gateway on a
unix socket, as in the chain, so both kinds of listener are tested. FastCGI back ends are tested
only through the gateway. A Spec lists the checks that its architecture may fail, with the reason;
these failures are shown but not counted. An exception for a check that passes both ways is an
error: it would hide a later failure.

Two back ends run at a time, in threads, because a check mostly waits for timers, its own or the
server's. Each has its own instances, so they share only the machine.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chainlab.transport import Address
from lab.chain.backends import BACKENDS, Backend
from lab.chain.fronts import FRONTS
from lab.chain.processes import free_port, stop_part
from lab.chain.rundir import LabError, Part, RunDir
from loadtest.interrupts import ignore_interrupts
from servers.app import contract

WORKERS: Final = 4
AT_ONCE: Final = 2
ALL: Final = "all"
GRACE: Final = 10.0  # seconds for an instance to exit by itself


@dataclass(slots=True)
class Result:
    """The result for one back end, filled in while its checks run."""

    backend: Backend
    direct: list[contract.Failure] | None = None  # None: not checked (yet)
    through: list[contract.Failure] | None = None
    broken: str = ""
    """Why the checks could not run."""
    seconds: float = 0.0
    state: str = "waiting"  # then "direct", "through the gateway", "done"
    unavailable: str | None = field(init=False)

    def __post_init__(self) -> None:
        self.unavailable = self.backend.unavailable()

    @property
    def excepted(self) -> dict[str, str]:
        """The checks that this architecture may fail, and why."""
        return dict(self.backend.spec.exceptions)

    @property
    def unneeded(self) -> list[str]:
        """Excepted checks that passed, once all checks have run."""
        if self.state != "done" or self.broken:
            return []
        failed = {failure.name for way in (self.direct, self.through) for failure in way or ()}
        return [name for name in self.excepted if name not in failed]

    def counted(self, way: list[contract.Failure] | None) -> list[contract.Failure]:
        """Return the failures in `way` that no exception covers."""
        return [failure for failure in way or () if failure.name not in self.excepted]

    @property
    def problems(self) -> list[str]:
        """The problems, one line each."""
        ways = (("direct", self.direct), ("through the gateway", self.through))
        found = [f"{how}: {failure}" for how, way in ways for failure in self.counted(way)]
        found += [
            f"{name}: the check passes; remove its exception from the Spec"
            for name in self.unneeded
        ]
        return [self.broken, *found] if self.broken else found


def choose(name: str) -> list[Backend]:
    """Return the back end `name`, or all; LabError if it is unknown or cannot run here."""
    if name == ALL:
        return list(BACKENDS.values())
    if name not in BACKENDS:
        raise LabError(f"no back end {name!r}; choose from: {ALL}, {', '.join(BACKENDS)}")
    backend = BACKENDS[name]
    if reason := backend.unavailable():
        raise LabError(f"{name} cannot run here: {reason}")
    return [backend]


class Verifier:
    """Runs the checks of several back ends; `cancel` stops the checks and all instances."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self.results = [Result(backend) for backend in backends]
        self._cancelled = False
        self._lock = threading.Lock()
        self._parts: list[Part] = []

    def run(self, watch: Callable[[], None]) -> None:
        """Verify all that can run here, `AT_ONCE` at a time; calls `watch` ten times a second."""
        able = [result for result in self.results if not result.unavailable]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            running: list[Future[None]] = [pool.submit(self._verify, result) for result in able]
            try:
                while not all(future.done() for future in running):
                    watch()
                    time.sleep(0.1)
            except KeyboardInterrupt:
                ignore_interrupts()
                self.cancel()
                raise
        for future in running:
            future.result()

    def cancel(self) -> None:
        """Stop every instance now; the threads end when they find their server gone."""
        self._cancelled = True
        with self._lock:
            parts = list(self._parts)
        for part in parts:
            stop_part(part, grace=0)

    def _verify(self, result: Result) -> None:
        begin = time.monotonic()
        try:
            if result.backend.protocol == "http":
                result.state = "direct"
                with self._direct(result.backend) as url:
                    result.direct = self._check(url)
            result.state = "through the gateway"
            with self._through(result.backend) as url:
                result.through = self._check(url)
        except LabError as error:
            result.broken = str(error)
        result.seconds = time.monotonic() - begin
        result.state = "done"

    def _check(self, url: str) -> list[contract.Failure]:
        self._stop_if_cancelled()
        return contract.verify(url)

    @contextmanager
    def _direct(self, backend: Backend) -> Iterator[str]:
        with self._run_folder() as (run_dir, keep):
            listen = Address("127.0.0.1", free_port())
            keep(backend.start(run_dir, WORKERS, 1, address=listen))
            yield f"http://{listen}"

    @contextmanager
    def _through(self, backend: Backend) -> Iterator[str]:
        with self._run_folder() as (run_dir, keep):
            part = keep(backend.start(run_dir, WORKERS, 1))
            listen = Address("127.0.0.1", free_port())
            front = FRONTS["gateway"]
            keep(front.start(run_dir, listen, backend, part.address, WORKERS))
            yield f"http://{listen}"

    @contextmanager
    def _run_folder(self) -> Iterator[tuple[RunDir, Callable[[Part], Part]]]:
        """Yield a run folder, and a function that registers a part to be stopped at the end."""
        with (
            tempfile.TemporaryDirectory(prefix="chainlab-verify-") as folder,
            ExitStack() as stack,
        ):

            def keep(part: Part) -> Part:
                stack.callback(self._stop, part)
                with self._lock:
                    self._parts.append(part)
                self._stop_if_cancelled()
                return part

            self._stop_if_cancelled()
            yield RunDir(Path(folder)), keep

    def _stop(self, part: Part) -> None:
        stop_part(part, grace=0 if self._cancelled else GRACE)
        with self._lock:
            self._parts.remove(part)

    def _stop_if_cancelled(self) -> None:
        if self._cancelled:
            raise LabError("cancelled")
