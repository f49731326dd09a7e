"""The rounds of a comparison: everybody in turn, in an order drawn anew for each round.

For one number of connections at a time all contestants are started, warmed, measured in every
round, and stopped; so what disturbs the machine for a while disturbs all of them. The null server
takes its turn in each round like the others. Where openloop turns out to be the bottleneck, wrk
goes over the same cells, and over the null server, in rounds of its own, for what more there is:
nobody gets a place by them, for a generator that costs less leaves the servers more. Nor by those
of locust, which goes once over the cells of one number of connections.

An open loop without rates of its own needs the peaks first: the rounds of a closed loop find them,
and rounds at shares of them follow, all loads of everybody in one order drawn anew. The null server
is driven in a closed loop whatever the mode: it is there for the most that the generator gets.

A contestant that does not start, or cannot be driven, loses its own cells and nobody else's. What
was taken by the time of a Ctrl-C is a result, too.
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

DEEP: Final = 0.3  # seconds of the turn in which system calls are counted

LEFT_OUT: Final = "--quick leaves it out"
ENDED: Final = "the comparison was ended before"
NO_TIME: Final = "there was no time left for it"
"""Why something was not measured."""

Watch = Callable[[str, float], None]
"""Told what runs now, and how much of the whole is done, from 0 to 1."""

TrialOf = tuple[Target, str, Route]
"""Whose turn it is, on which route, by name and itself."""

_FAILURES: Final = (LabError, NotDriven, OSError)
"""Of a contestant, which cost nobody else anything."""


class Session:
    """A comparison under way; `cells` and `ceilings` hold at any time."""

    def __init__(
        self,
        settings: Settings,
        contestants: list[Target],
        null: Target | None,
        folder: Path,
        watch: Watch = lambda _what, _part: None,
    ) -> None:
        self._settings = settings
        self._contestants = contestants
        self._null = null
        self._folder = folder
        self._watch = watch
        self._deadline = time.monotonic() + settings.allowed
        self._done = 0
        self._order = random.Random(settings.seed)
        self._samples = Samples(
            (syscalls_and_memory.lacking() or ENDED) if settings.deep else LEFT_OUT
        )
        self._idle: dict[str, tuple[dict[str, float], str]] = {}
        """Bytes per idle connection by part, and why something lacks, by contestant."""
        self.cores = Cores.here()
        self._instances = Instances(folder, self.cores)

    def run(self) -> None:
        """Take all rounds; KeyboardInterrupt ends it early, with what is taken."""
        for connections in self._settings.connections:
            with ExitStack() as stack:
                try:
                    self._block(connections, stack)
                except KeyboardInterrupt:
                    ignore_interrupts()  # what runs is stopped in peace, and told
                    raise
        if self._settings.deep:
            for contestant in self._contestants:
                self._watch(f"idle connections: {contestant.name}", self._part())
                self._idle[contestant.name] = self._measure_idle(contestant)

    def cells(self) -> list[Cell]:
        """Return what has been taken, judged."""
        return self._samples.cells()

    def idle_of(self, name: str) -> tuple[dict[str, float], str]:
        """Return what a contestant holds per idle connection, and why something lacks."""
        return self._idle.get(name, ({}, ENDED if self._settings.deep else LEFT_OUT))

    def ceilings(self) -> list[Ceiling]:
        """Return what the generator gets from the null server."""
        return self._samples.ceilings()

    # One number of connections

    def _block(self, connections: int, stack: ExitStack) -> None:
        workers = min(connections, WORKERS)
        for contestant in [*self._contestants, *([self._null] if self._null else [])]:
            self._register(contestant, connections, workers)
            if contestant.resident and not contestant.described.unavailable:
                self._watch(f"starting {contestant.name}", self._part())
                self._attempt(
                    contestant,
                    lambda one: self._instances.keep(one, self._routes(one), workers, stack),
                    connections,
                )
        self._go_round(connections, self._first())
        self._go_further(connections)
        self._go_by_locust(connections)
        self._go_at_shares(connections)
        if self._settings.deep and syscalls_and_memory.events():
            for contestant, name, route in self._own_turns():
                self._watch(f"system calls: {contestant.name} {name}", self._part())
                self._count_calls(contestant, name, route, connections)

    def _go_round(self, connections: int, turns: list[tuple[TrialOf, Level]]) -> None:
        """Take all rounds of these turns."""
        for number in range(self._settings.rounds):
            for (contestant, name, route), level in self._order.sample(turns, len(turns)):
                what = f"{connections} connections, round {number + 1}: {contestant.name} {name}"
                told = f"{what}, {level}" if level != CLOSED else what
                self._watch(told, self._part())
                self._take(contestant, name, route, connections, by_openloop, level)

    def _go_at_shares(self, connections: int) -> None:
        """Drive everybody at shares of the peaks that were found, and at one equal rate."""
        if self._settings.finds_peaks:
            levels = self._samples.open_shares(connections)
            loads = [(turn, level) for turn in self._own_turns() for level in levels[turn[1]]]
            self._go_round(connections, loads)

    def _go_further(self, connections: int) -> None:
        """Have wrk drive the cells where openloop was at its end, while there is time."""
        bound = self._bound(connections) if self._settings.for_wrk else []
        for _ in range(self._settings.rounds):
            self._go_once(bound, f"{connections} connections, wrk", connections, by_wrk)

    def _go_by_locust(self, connections: int) -> None:
        """Have locust drive every cell once, at one number of connections, while there is time."""
        if connections == self._settings.for_locust:
            what = f"{connections} users of locust"
            self._go_once(self._own_turns(), what, connections, by_locust)

    def _go_once(
        self,
        turns: list[TrialOf],
        what: str,
        connections: int,
        drive: Drive,
    ) -> None:
        """Take these turns in an order drawn anew, as many as there is time for."""
        for contestant, name, route in self._order.sample(turns, len(turns)):
            if self._late():
                return
            self._watch(f"{what}: {contestant.name} {name}", self._part())
            self._take(contestant, name, route, connections, drive)

    def _own_turns(self) -> list[TrialOf]:
        """Return the contestants' turns."""
        return [
            (contestant, name, route)
            for contestant in self._contestants
            for name, route in self._settings.routes.items()
        ]

    def _null_turns(self) -> list[TrialOf]:
        """Return the null server's one turn; none where there is no null server."""
        return [(self._null, "hello", ROUTES["hello"])] if self._null else []

    def _first(self) -> list[tuple[TrialOf, Level]]:
        """Return the turns at the loads known beforehand, and the null server's."""
        own = [(turn, level) for turn in self._own_turns() for level in self._settings.levels]
        return [*own, *((turn, CLOSED) for turn in self._null_turns())]

    def _bound(self, connections: int) -> list[TrialOf]:
        """Return the turns that wrk takes over: cells where openloop was at its end."""
        bound = set() if drivers.wrk_missing() else self._samples.bound(connections)
        found = [turn for turn in self._own_turns() if (turn[0].name, turn[1]) in bound]
        return [*found, *self._null_turns()] if found else []

    def _register(self, contestant: Target, connections: int, workers: int) -> None:
        if contestant is self._null:
            return
        for name in self._settings.routes:
            for level in self._settings.levels:
                self._samples.open(contestant.described, name, connections, workers, level)

    def _attempt(
        self, contestant: Target, step: Callable[[Target], None], connections: int
    ) -> None:
        """Take a step; one that fails costs its own contestant the cells."""
        try:
            step(contestant)
        except _FAILURES as error:
            self._samples.fail(contestant.name, connections, str(error))

    def _routes(self, contestant: Target) -> list[Route]:
        """Return what it is asked."""
        hello = contestant is self._null
        return [ROUTES["hello"]] if hello else list(self._settings.routes.values())

    # One turn

    def _take(
        self,
        contestant: Target,
        name: str,
        route: Route,
        connections: int,
        drive: Drive,
        level: Level = CLOSED,
    ) -> None:
        self._done += 1
        key = contestant.name, name, connections, level
        taken = self._samples.taken.get(key)  # none of the null server

        def step(one: Target) -> None:
            rate, seconds = taken.rate if taken else None, self._settings.duration
            with self._instances.lend(one, route, connections) as instance:
                found, histogram = take(
                    instance, route, connections, rate, seconds, self.cores, drive
                )
            if one is self._null:
                self._samples.add_null(connections, found)
            else:
                self._samples.add(key, found, histogram)

        if taken and taken.failure:
            return
        if drive is by_openloop:
            self._attempt(contestant, step, connections)
            return
        try:
            step(contestant)
        except _FAILURES as error:  # of a witness, without whom the cell is what it is
            if taken and str(error) not in taken.remarks:
                taken.remarks.append(str(error))

    def _count_calls(
        self,
        contestant: Target,
        name: str,
        route: Route,
        connections: int,
    ) -> None:
        """Count in each of a route's cells: how many calls a request takes depends on the load."""
        for (who, where, number, _), taken in self._samples.taken.items():
            if (who, where, number) != (contestant.name, name, connections):
                continue
            if taken.failure or self._late():
                taken.calls_missing = taken.failure or NO_TIME
                continue
            try:
                with self._instances.lend(contestant, route, connections) as instance:
                    turn = Trial(
                        instance.url + route.path, route.body, connections, DEEP, taken.rate
                    )
                    counted = syscalls_and_memory.count_calls(instance, turn, self._folder)
                    taken.system_calls, taken.calls_missing = counted
            except _FAILURES as error:
                taken.calls_missing = str(error)

    def _measure_idle(self, contestant: Target) -> tuple[dict[str, float], str]:
        """Measure what idle connections hold, on an instance of their own."""
        if contestant.described.unavailable or self._late():
            return {}, contestant.described.unavailable or NO_TIME
        try:
            with ExitStack() as stack:
                return syscalls_and_memory.idle_bytes(
                    self._instances.open(contestant, self._routes(contestant), WORKERS, stack)
                )
        except _FAILURES as error:
            return {}, str(error)

    def _late(self) -> bool:
        """Whether time is up for what can be left out."""
        return time.monotonic() > self._deadline

    def _part(self) -> float:
        cells = len(self._contestants) * len(self._settings.routes) * self._settings.loads
        cells += self._null is not None
        turns = cells * len(self._settings.connections) * self._settings.rounds
        return min(1.0, self._done / turns)
