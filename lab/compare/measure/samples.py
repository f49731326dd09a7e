"""The rounds measured so far, by cell; and the open-loop rates that follow from the peaks.

A peak is the closed loop's throughput in the rounds that count. The default equal rate comes from
the lowest peak of a target that answered every request correctly: with the peak of a target that
broke down, all others would idle.
"""

from statistics import median

from lab.compare.drive.drivers import OPENLOOP
from lab.compare.drive.levels import CLOSED, SHARES, Level, equal_rate
from lab.compare.judge import rules
from lab.compare.judge.intervals import interval
from lab.compare.judge.summary import Taken, counting, make_cell
from lab.compare.result import Architecture, Ceiling, Cell, Round

Key = tuple[str, str, int, Level]
"""Architecture, route, connections, load."""


class Samples:
    """Rounds by cell, and the baseline's rounds."""

    def __init__(self, calls_missing: str) -> None:
        """`calls_missing`: why a cell has no system calls, until they are counted."""
        self._calls_missing = calls_missing
        self.taken: dict[Key, Taken] = {}
        self._baseline: dict[tuple[str, int], list[float]] = {}

    def open(
        self, about: Architecture, route: str, connections: int, workers: int, level: Level
    ) -> None:
        """Add a cell in a closed loop or at a rate that is the same for all."""
        self.taken[about.name, route, connections, level] = Taken(
            about.name,
            about.front,
            route,
            connections,
            workers,
            mode="closed" if level == CLOSED else "open",
            rate=level.rate,
            failure=about.unavailable,
            calls_missing=about.unavailable or self._calls_missing,
        )

    def open_shares(self, connections: int) -> dict[str, list[Level]]:
        """Add the cells whose rates follow from the peaks; return the loads by route."""
        found = {}
        for route in dict.fromkeys(route for _, route, number, _ in self.taken):
            closed = {
                key[0]: self._cell(key, None)
                for key in self.taken
                if key[1:] == (route, connections, CLOSED)
            }
            peaks = {name: _peak(cell) for name, cell in closed.items()}
            sound = [peaks[name] for name, cell in closed.items() if _sound(cell)]
            rate = equal_rate(sound or list(peaks.values()))
            found[route] = [Level(of_peak=share) for share in SHARES]
            found[route] += [Level(rate=rate)] if rate else []
            for name, peak in peaks.items():
                for level in found[route]:
                    self._open_after_peak((name, route, connections, CLOSED), level, peak)
        return found

    def _open_after_peak(self, closed: Key, level: Level, peak: float) -> None:
        before = self.taken[closed]
        rate, failure = level.rate, before.failure
        if level.of_peak is not None:
            rate = level.of_peak * peak or None
            failure = failure or ("" if peak else "no peak: its closed loop got no answer")
        self.taken[*closed[:3], level] = Taken(
            before.architecture,
            before.front,
            before.route,
            before.connections,
            before.workers,
            mode="open",
            rate=rate,
            of_peak=level.of_peak,
            failure=failure,
            calls_missing=failure or before.calls_missing,
        )

    def add(self, key: Key, found: Round, histogram: str) -> None:
        """Add a round, and its histogram if the driver keeps one."""
        self.taken[key].rounds.append(found)
        self.taken[key].histograms += [histogram] if histogram else []

    def add_baseline(self, connections: int, found: Round) -> None:
        """Add a round of the baseline."""
        self._baseline.setdefault((found.driver, connections), []).append(found.rate)

    def fail(self, name: str, connections: int, why: str) -> None:
        """Mark an architecture's cells with these connections as failed; the first reason stays."""
        for key, taken in self.taken.items():
            if (key[0], key[2]) == (name, connections):
                taken.failure = taken.failure or why

    def bound(self, connections: int) -> set[tuple[str, str]]:
        """Return the (architecture, route) pairs whose closed loop openloop limited."""
        ceiling = self.ceilings_at(connections).get(OPENLOOP)
        return {
            (name, route)
            for (name, route, at, level), taken in self.taken.items()
            if (at, level) == (connections, CLOSED)
            and taken.rounds
            and not rules.generator(counting(taken.rounds), ceiling).holds
        }

    def ceilings_at(self, connections: int) -> dict[str, float]:
        """Return each driver's median throughput on the baseline."""
        return {
            name: median(rates) for (name, at), rates in self._baseline.items() if at == connections
        }

    def ceilings(self) -> list[Ceiling]:
        """Return the generator's throughput on the baseline."""
        return [Ceiling(name, at, interval(rates)) for (name, at), rates in self._baseline.items()]

    def cells(self) -> list[Cell]:
        """Return the cells measured so far, judged."""
        found: dict[Key, Cell] = {}  # a closed loop comes before the shares of its peak
        for key in self.taken:
            found[key] = self._cell(key, found.get((*key[:3], CLOSED)))
        return list(found.values())

    def _cell(self, key: Key, closed: Cell | None) -> Cell:
        return make_cell(self.taken[key], self.ceilings_at(key[2]), closed)


def _peak(cell: Cell) -> float:
    return cell.summary.throughput.median if cell.summary else 0.0


def _sound(cell: Cell) -> bool:
    return cell.verdict not in ("wrong-answers", "errors", "unavailable")
