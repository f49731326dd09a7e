"""Running targets: started on the servers' cores, warmed up, lent for a trial.

A target that burns CPU when idle would disturb the others, so it is started anew for each trial.
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
"""Seconds of warm-up load on each route."""


class Instances:
    """The instances of a comparison; each has its own folder in `folder`."""

    def __init__(self, folder: Path, cores: Cores) -> None:
        self._folder = folder
        self._cores = cores
        self._count = 0
        self._running: dict[str, Instance] = {}

    def open(
        self, target: Target, routes: Collection[Route], workers: int, stack: ExitStack
    ) -> Instance:
        """Start an instance and warm it up; `stack` stops it. LabError or NotDriven on failure."""
        self._count += 1
        run_dir = RunDir(self._folder / str(self._count))
        with on(self._cores.servers):
            running = target.start(run_dir, workers, stack)
        for route in routes:
            drivers.warm(Trial(running.url + route.path, route.body, workers, WARM))
        return running

    def keep(
        self, target: Target, routes: Collection[Route], workers: int, stack: ExitStack
    ) -> None:
        """Start an instance that can be lent until `stack` stops it."""
        self._running[target.name] = self.open(target, routes, workers, stack)
        stack.callback(self._running.pop, target.name)

    @contextmanager
    def lend(self, target: Target, route: Route, connections: int) -> Iterator[Instance]:
        """Lend the kept instance, or one started for this trial; LabError if none is running."""
        if target.resident:
            if target.name not in self._running:
                raise LabError(f"{target.name} is not running")
            yield self._running[target.name]
            return
        with ExitStack() as stack:
            yield self.open(target, [route], min(connections, WORKERS), stack)
