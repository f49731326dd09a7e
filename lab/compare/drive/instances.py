"""Contestants as they run: started on the servers' cores, warmed, lent for a turn.

One that burns CPU when idle does not run beside the others, but for each of its turns anew.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from lab.chain.rundir import LabError, RunDir
from lab.compare.drive import drivers
from lab.compare.drive.drivers import Trial
from lab.compare.drive.targets import Instance, Target
from lab.compare.drive.trial import Cores, on
from lab.compare.settings import WORKERS, Route

WARM: Final = 0.15
"""Seconds of load on each route that count for nothing."""


class Instances:
    """Those of a comparison; each has a folder of its own in `folder`."""

    def __init__(self, folder: Path, cores: Cores) -> None:
        self._folder = folder
        self._cores = cores
        self._count = 0
        self._running: dict[str, Instance] = {}

    def open(
        self, contestant: Target, routes: Collection[Route], workers: int, stack: ExitStack
    ) -> Instance:
        """Start one and warm it; `stack` stops it. LabError or NotDriven when that fails."""
        self._count += 1
        run_dir = RunDir(self._folder / str(self._count))
        with on(self._cores.servers):
            running = contestant.start(run_dir, workers, stack)
        for route in routes:
            drivers.warm(Trial(running.url + route.path, route.body, workers, WARM))
        return running

    def keep(
        self, contestant: Target, routes: Collection[Route], workers: int, stack: ExitStack
    ) -> None:
        """Start one that is to be lent until `stack` stops it."""
        self._running[contestant.name] = self.open(contestant, routes, workers, stack)
        stack.callback(self._running.pop, contestant.name)

    @contextmanager
    def lend(self, contestant: Target, route: Route, connections: int) -> Iterator[Instance]:
        """Lend the instance that is kept, or one that lives for this turn; LabError: none runs."""
        if contestant.resident:
            if contestant.name not in self._running:
                raise LabError(f"{contestant.name} does not run")
            yield self._running[contestant.name]
            return
        with ExitStack() as stack:
            yield self.open(contestant, [route], min(connections, WORKERS), stack)
