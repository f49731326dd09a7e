"""The rounds of a comparison: one trial of each target per round, in a new random order each time.

For each number of connections, all targets are started, warmed up, measured in every round and
stopped, so a disturbance of the machine hits all of them. The baseline takes part in each round
like the others. Where openloop was the bottleneck, wrk drives the same cells and the baseline in
separate rounds, to show how much more is possible. Those rounds do not count for the ranking,
because a cheaper generator leaves the servers more CPU. Nor do those of locust, which drives the
cells of one number of connections once.

An open loop without given rates needs the peaks first: closed-loop rounds find them, then rounds at
shares of the peaks follow, with all loads of all targets in one random order. The baseline is
always driven in a closed loop, because it shows the most that the generator can do.

A target that does not start or cannot be driven loses only its own cells. After Ctrl-C, the rounds
done so far are the result.
"""

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from lab.chain.rundir import LabError
from lab.compare.drive import drivers
from lab.compare.drive.drivers import NotDriven, Trial
from lab.compare.drive.instances import Instances
from lab.compare.drive.levels import CLOSED, Level
from lab.compare.drive.targets import Target
from lab.compare.drive.trial import Cores, Drive, by_locust, by_openloop, by_wrk, take
from lab.compare.measure import syscalls_and_memory
from lab.compare.measure.samples import Samples
from lab.compare.result import Ceiling, Cell
from lab.compare.settings import ROUTES, WORKERS, Route, Settings
from loadtest.interrupts import ignore_interrupts

DEEP: Final = 0.3  # seconds of the trial that counts system calls

LEFT_OUT: Final = "--quick skips it"
ENDED: Final = "the comparison was interrupted before"
NO_TIME: Final = "no time was left"
"""Why something was not measured."""

Watch = Callable[[str, float], None]
"""Called with what runs now, and how much of the whole is done, from 0 to 1."""

TrialOf = tuple[Target, str, Route]
"""The target, and the route's name and the route itself."""

_FAILURES: Final = (LabError, NotDriven, OSError)
"""Failures of one target, which do not end the comparison."""


class Session:
    """A running comparison; `cells` and `ceilings` are valid at any time."""

    def __init__(
        self,
        settings: Settings,
        targets: list[Target],
        baseline: Target | None,
        folder: Path,
        watch: Watch = lambda _what, _part: None,
    ) -> None:
        self._settings = settings
        self._targets = targets
        self._baseline = baseline
        self._folder = folder
        self._watch = watch
        self._deadline = time.monotonic() + settings.allowed
        self._done = 0
        self._order = random.Random(settings.seed)
        self._samples = Samples(
            LEFT_OUT if settings.quick else syscalls_and_memory.lacking() or ENDED
        )
        self._idle: dict[str, tuple[dict[str, float], str]] = {}
        """By target: bytes per idle connection by part, and why something is missing."""
        self.cores = Cores.here()
        self._instances = Instances(folder, self.cores)

    def run(self) -> None:
        """Run all rounds; after a KeyboardInterrupt the rounds done so far are kept."""
        for connections in self._settings.connections:
            with ExitStack() as stack:
                try:
                    self._run_block(connections, stack)
                except KeyboardInterrupt:
                    ignore_interrupts()  # let the targets stop, and the result be written
                    raise
        if not self._settings.quick:
            for target in self._targets:
                self._watch(f"idle connections: {target.name}", self._progress())
                self._idle[target.name] = self._measure_idle(target)

    def cells(self) -> list[Cell]:
        """Return the cells measured so far, judged."""
        return self._samples.cells()

    def idle_of(self, name: str) -> tuple[dict[str, float], str]:
        """Return a target's memory per idle connection, and why something is missing."""
        return self._idle.get(name, ({}, LEFT_OUT if self._settings.quick else ENDED))

    def ceilings(self) -> list[Ceiling]:
        """Return the generator's throughput on the baseline."""
        return self._samples.ceilings()

    # One number of connections

    def _run_block(self, connections: int, stack: ExitStack) -> None:
        workers = min(connections, WORKERS)
        for target in [*self._targets, *([self._baseline] if self._baseline else [])]:
            self._register(target, connections, workers)
            if target.resident and not target.described.unavailable:
                self._watch(f"starting {target.name}", self._progress())
                self._attempt(
                    target,
                    lambda one: self._instances.keep(one, self._routes(one), workers, stack),
                    connections,
                )
        self._run_rounds(connections, self._initial_trials())
        self._run_wrk(connections)
        self._run_locust(connections)
        self._run_shares(connections)
        if not self._settings.quick and syscalls_and_memory.events():
            for target, name, route in self._target_trials():
                self._watch(f"system calls: {target.name} {name}", self._progress())
                self._count_calls(target, name, route, connections)

    def _run_rounds(self, connections: int, trials: list[tuple[TrialOf, Level]]) -> None:
        """Run these trials once per round."""
        for number in range(self._settings.rounds):
            for (target, name, route), level in self._order.sample(trials, len(trials)):
                what = f"{connections} connections, round {number + 1}: {target.name} {name}"
                shown = f"{what}, {level}" if level != CLOSED else what
                self._watch(shown, self._progress())
                self._run_trial(target, name, route, connections, by_openloop, level)

    def _run_shares(self, connections: int) -> None:
        """Drive all targets at shares of their peaks, and at one equal rate."""
        if self._settings.finds_peaks:
            levels = self._samples.open_shares(connections)
            trials = [(one, level) for one in self._target_trials() for level in levels[one[1]]]
            self._run_rounds(connections, trials)

    def _run_wrk(self, connections: int) -> None:
        """Let wrk drive the cells where openloop was the bottleneck, while there is time."""
        bound = self._wrk_trials(connections) if self._settings.for_wrk else []
        for _ in range(self._settings.rounds):
            self._run_once(bound, f"{connections} connections, wrk", connections, by_wrk)

    def _run_locust(self, connections: int) -> None:
        """Let locust drive every cell once, at one number of connections, while there is time."""
        if connections == self._settings.for_locust:
            what = f"{connections} users of locust"
            self._run_once(self._target_trials(), what, connections, by_locust)

    def _run_once(
        self,
        trials: list[TrialOf],
        what: str,
        connections: int,
        drive: Drive,
    ) -> None:
        """Run these trials in random order, as many as there is time for."""
        for target, name, route in self._order.sample(trials, len(trials)):
            if self._out_of_time():
                return
            self._watch(f"{what}: {target.name} {name}", self._progress())
            self._run_trial(target, name, route, connections, drive)

    def _target_trials(self) -> list[TrialOf]:
        """Return one trial per target and route, without the baseline's."""
        return [
            (target, name, route)
            for target in self._targets
            for name, route in self._settings.routes.items()
        ]

    def _baseline_trials(self) -> list[TrialOf]:
        """Return the baseline's only trial, or nothing if there is no baseline."""
        return [(self._baseline, "hello", ROUTES["hello"])] if self._baseline else []

    def _initial_trials(self) -> list[tuple[TrialOf, Level]]:
        """Return the trials at the loads known beforehand, and the baseline's."""
        own = [(trial, level) for trial in self._target_trials() for level in self._settings.levels]
        return [*own, *((trial, CLOSED) for trial in self._baseline_trials())]

    def _wrk_trials(self, connections: int) -> list[TrialOf]:
        """Return the trials to repeat by wrk: cells where openloop was the bottleneck."""
        bound = set() if drivers.wrk_missing() else self._samples.bound(connections)
        found = [trial for trial in self._target_trials() if (trial[0].name, trial[1]) in bound]
        return [*found, *self._baseline_trials()] if found else []

    def _register(self, target: Target, connections: int, workers: int) -> None:
        if target is self._baseline:
            return
        for name in self._settings.routes:
            for level in self._settings.levels:
                self._samples.open(target.described, name, connections, workers, level)

    def _attempt(self, target: Target, step: Callable[[Target], None], connections: int) -> None:
        """Take a step; if it fails, its target loses the cells with these connections."""
        try:
            step(target)
        except _FAILURES as error:
            self._samples.fail(target.name, connections, str(error))

    def _routes(self, target: Target) -> list[Route]:
        """Return the routes that a target is driven on."""
        hello = target is self._baseline
        return [ROUTES["hello"]] if hello else list(self._settings.routes.values())

    # One trial

    def _run_trial(
        self,
        target: Target,
        name: str,
        route: Route,
        connections: int,
        drive: Drive,
        level: Level = CLOSED,
    ) -> None:
        self._done += 1
        key = target.name, name, connections, level
        taken = self._samples.taken.get(key)  # None for the baseline

        def step(one: Target) -> None:
            rate, seconds = taken.rate if taken else None, self._settings.duration
            with self._instances.lend(one, route, connections) as instance:
                found, histogram = take(
                    instance, route, connections, rate, seconds, self.cores, drive
                )
            if one is self._baseline:
                self._samples.add_baseline(connections, found)
            else:
                self._samples.add(key, found, histogram)

        if taken and taken.failure:
            return
        if drive is by_openloop:
            self._attempt(target, step, connections)
            return
        try:
            step(target)
        except _FAILURES as error:  # of wrk or locust, whose rounds do not decide the cell
            if taken and str(error) not in taken.remarks:
                taken.remarks.append(str(error))

    def _count_calls(
        self,
        target: Target,
        name: str,
        route: Route,
        connections: int,
    ) -> None:
        """Count in each of a route's cells: the calls per request depend on the load."""
        for key, taken in self._samples.taken.items():
            if key[:3] != (target.name, name, connections):
                continue
            if taken.failure or self._out_of_time():
                taken.calls_missing = taken.failure or NO_TIME
                continue
            try:
                with self._instances.lend(target, route, connections) as instance:
                    trial = Trial(
                        instance.url + route.path, route.body, connections, DEEP, taken.rate
                    )
                    counted = syscalls_and_memory.count_calls(instance, trial, self._folder)
                    taken.system_calls, taken.calls_missing = counted
            except _FAILURES as error:
                taken.calls_missing = str(error)

    def _measure_idle(self, target: Target) -> tuple[dict[str, float], str]:
        """Measure the memory of idle connections, on a separate instance."""
        if target.described.unavailable or self._out_of_time():
            return {}, target.described.unavailable or NO_TIME
        try:
            with ExitStack() as stack:
                return syscalls_and_memory.idle_bytes(
                    self._instances.open(target, self._routes(target), WORKERS, stack)
                )
        except _FAILURES as error:
            return {}, str(error)

    def _out_of_time(self) -> bool:
        """Whether the time for optional measurements is up."""
        return time.monotonic() > self._deadline

    def _progress(self) -> float:
        cells = len(self._targets) * len(self._settings.routes) * self._settings.loads
        cells += self._baseline is not None
        trials = cells * len(self._settings.connections) * self._settings.rounds
        return min(1.0, self._done / trials)
