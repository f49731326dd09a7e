"""What a comparison has taken so far, cell by cell; where peaks decide, the rates that follow.

A peak is what the closed loop got, of the rounds that count. The equal rate where nobody gives one
comes from the slowest of those who answered every request rightly: one that fell over would have
the others idle.
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
    """Rounds by cell, and those of the null server."""

    def __init__(self, calls_missing: str) -> None:
        """`calls_missing`: why no cell has its system calls, as long as they are not counted."""
        self._calls_missing = calls_missing
        self.taken: dict[Key, Taken] = {}
        self._null: dict[tuple[str, int], list[float]] = {}

    def open(
        self, about: Architecture, route: str, connections: int, workers: int, level: Level
    ) -> None:
        """Begin a cell, in a closed loop or at a rate that is the same for all."""
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
        """Begin the cells whose rates the peaks decide; return the loads by route."""
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
                    self._open_after((name, route, connections, CLOSED), level, peak)
        return found

    def _open_after(self, closed: Key, level: Level, peak: float) -> None:
        before = self.taken[closed]
        rate, failure = level.rate, before.failure
        if level.of_peak is not None:
            rate = level.of_peak * peak or None
            failure = failure or ("" if peak else "no peak: its closed loop had no answer")
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
        """Note a round, with its histogram where the driver keeps one."""
        self.taken[key].rounds.append(found)
        self.taken[key].histograms += [histogram] if histogram else []

    def add_null(self, connections: int, found: Round) -> None:
        """Note a round of the null server."""
        self._null.setdefault((found.driver, connections), []).append(found.rate)

    def fail(self, name: str, connections: int, why: str) -> None:
        """Have an architecture lose its cells with so many connections; the first reason stays."""
        for key, taken in self.taken.items():
            if (key[0], key[2]) == (name, connections):
                taken.failure = taken.failure or why

    def bound(self, connections: int) -> set[tuple[str, str]]:
        """Return whose closed loop, and on which route, openloop could not drive any harder."""
        ceiling = self.ceilings_at(connections).get(OPENLOOP)
        return {
            (name, route)
            for (name, route, at, level), taken in self.taken.items()
            if (at, level) == (connections, CLOSED)
            and taken.rounds
            and not rules.generator(counting(taken.rounds), ceiling).holds
        }

    def ceilings_at(self, connections: int) -> dict[str, float]:
        """Return what each driver got from the null server, in the median."""
        return {
            name: median(rates) for (name, at), rates in self._null.items() if at == connections
        }

    def ceilings(self) -> list[Ceiling]:
        """Return what the generator gets from the null server."""
        return [Ceiling(name, at, interval(rates)) for (name, at), rates in self._null.items()]

    def cells(self) -> list[Cell]:
        """Return what has been taken, judged; a closed loop before the shares of its peak."""
        found: dict[Key, Cell] = {}
        for key in self.taken:
            found[key] = self._cell(key, found.get((*key[:3], CLOSED)))
        return list(found.values())

    def _cell(self, key: Key, closed: Cell | None) -> Cell:
        return make_cell(self.taken[key], self.ceilings_at(key[2]), closed)


def _peak(cell: Cell) -> float:
    return cell.summary.throughput.median if cell.summary else 0.0


def _sound(cell: Cell) -> bool:
    return cell.verdict not in ("wrong-answers", "errors", "unavailable")
