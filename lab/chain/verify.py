"""`lab verify`: the whole contract, straight and through the gateway, of each back end.

Each way gets a fresh instance: straight on a TCP port, through the gateway on a unix socket, as in
the chain, so that both kinds of listener are tried. A FastCGI back end has no straight way. What
an architecture cannot do is in its Spec, check by check with the reason; it is told, not counted.
An exception that no longer fails, whichever way, is a mistake of ours: it would hide the next one.

Two run at a time, in threads: a check mostly waits, for a timer of its own or the server's. Each
has instances of its own, so that they share nothing but the machine.
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
GRACE: Final = 10.0  # seconds for an instance to end by itself


@dataclass(slots=True)
class Result:
    """What came out for one back end; lists grow while it is under way."""

    backend: Backend
    straight: list[contract.Failure] | None = None  # None: not asked, or not yet
    through: list[contract.Failure] | None = None
    broken: str = ""
    """What kept it from being asked at all."""
    seconds: float = 0.0
    state: str = "waits"  # "straight", "through the gateway", "done"
    unavailable: str | None = field(init=False)

    def __post_init__(self) -> None:
        self.unavailable = self.backend.unavailable()

    @property
    def excepted(self) -> dict[str, str]:
        """Checks that this architecture may break, and why."""
        return dict(self.backend.spec.exceptions)

    @property
    def unneeded(self) -> list[str]:
        """Exceptions that hold, now that all has been asked."""
        if self.state != "done" or self.broken:
            return []
        failed = {failure.name for way in (self.straight, self.through) for failure in way or ()}
        return [name for name in self.excepted if name not in failed]

    def counted(self, way: list[contract.Failure] | None) -> list[contract.Failure]:
        """Return the failures of `way` that no exception covers."""
        return [failure for failure in way or () if failure.name not in self.excepted]

    @property
    def problems(self) -> list[str]:
        """Return what is wrong, a line each."""
        ways = (("straight", self.straight), ("through the gateway", self.through))
        found = [f"{how}: {failure}" for how, way in ways for failure in self.counted(way)]
        found += [f"{name}: exception no longer needed, the check holds" for name in self.unneeded]
        return [self.broken, *found] if self.broken else found


def choose(name: str) -> list[Backend]:
    """Return the back ends that `name` means; LabError with the names, or with what lacks."""
    if name == ALL:
        return list(BACKENDS.values())
    if name not in BACKENDS:
        raise LabError(f"no back end {name!r}; choose from: {ALL}, {', '.join(BACKENDS)}")
    backend = BACKENDS[name]
    if reason := backend.unavailable():
        raise LabError(f"{name} cannot run here: {reason}")
    return [backend]


class Verifier:
    """Runs the checks of several back ends; `cancel` ends them early and stops what they run."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self.results = [Result(backend) for backend in backends]
        self._cancelled = False
        self._lock = threading.Lock()
        self._parts: list[Part] = []

    def run(self, watch: Callable[[], None]) -> None:
        """Verify all that this machine can run, `AT_ONCE` at a time; `watch` is called often."""
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
        """Stop every instance now; the threads find their server gone and end."""
        self._cancelled = True
        with self._lock:
            parts = list(self._parts)
        for part in parts:
            stop_part(part, grace=0)

    def _verify(self, result: Result) -> None:
        begin = time.monotonic()
        try:
            if result.backend.protocol == "http":
                result.state = "straight"
                with self._straight(result.backend) as url:
                    result.straight = self._ask(url)
            result.state = "through the gateway"
            with self._through(result.backend) as url:
                result.through = self._ask(url)
        except LabError as error:
            result.broken = str(error)
        result.seconds = time.monotonic() - begin
        result.state = "done"

    def _ask(self, url: str) -> list[contract.Failure]:
        self._go_on()
        return contract.verify(url)

    @contextmanager
    def _straight(self, backend: Backend) -> Iterator[str]:
        with self._stage() as (run_dir, keep):
            listen = Address("127.0.0.1", free_port())
            keep(backend.start(run_dir, WORKERS, 1, address=listen))
            yield f"http://{listen}"

    @contextmanager
    def _through(self, backend: Backend) -> Iterator[str]:
        with self._stage() as (run_dir, keep):
            part = keep(backend.start(run_dir, WORKERS, 1))
            listen = Address("127.0.0.1", free_port())
            front = FRONTS["gateway"]
            keep(front.start(run_dir, listen, backend, part.address, WORKERS))
            yield f"http://{listen}"

    @contextmanager
    def _stage(self) -> Iterator[tuple[RunDir, Callable[[Part], Part]]]:
        """Give a folder, and a function that has a part stopped at the end."""
        with (
            tempfile.TemporaryDirectory(prefix="chainlab-verify-") as folder,
            ExitStack() as stack,
        ):

            def keep(part: Part) -> Part:
                stack.callback(self._stop, part)
                with self._lock:
                    self._parts.append(part)
                self._go_on()
                return part

            self._go_on()
            yield RunDir(Path(folder)), keep

    def _stop(self, part: Part) -> None:
        stop_part(part, grace=0 if self._cancelled else GRACE)
        with self._lock:
            self._parts.remove(part)

    def _go_on(self) -> None:
        if self._cancelled:
            raise LabError("cancelled")
