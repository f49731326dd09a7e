"""Finds what changed between two results, beyond the noise of both.

A figure has changed if its two intervals do not overlap and its medians differ by more than LEAST:
among hundreds of intervals, some miss each other narrowly by chance. A worse verdict is a change
too: an architecture that was valid and now answers wrongly is worse, however fast. Only cells in
both files are compared: at equal rates those with the same rate, at shares of the peak those with
the same share, whatever the peak. A different peak shows in the closed loop's cell.
"""

from dataclasses import dataclass
from typing import Final

from lab.compare.drive.levels import level_of
from lab.compare.judge.intervals import overlap
from lab.compare.judge.ranking import figure
from lab.compare.result import Cell, Interval, Metric, Result
from loadtest.manifest import REACHED

LEAST: Final = 0.05
"""Of the older median."""

METRICS: Final[dict[Metric, str]] = {
    "throughput": "answers/s",
    "cpu": "CPU µs per request",
    "p99": "p99 ms",
}
_BAD: Final = ("wrong-answers", "errors", "unavailable")


@dataclass(frozen=True, slots=True)
class Change:
    """One figure or verdict that has changed."""

    cell: str
    what: str
    before: str
    after: str
    worse: bool


def changes(old: Result, new: Result) -> list[Change]:
    """Return what changed, cell by cell in the order of `new`."""
    known = {_key(cell): cell for cell in old.cells}
    found = []
    for cell in new.cells:
        before = known.get(_key(cell))
        if before is not None:
            found += _of_cell(before, cell)
    return found


def shared(old: Result, new: Result) -> int:
    """Return how many cells both results have."""
    return len({_key(cell) for cell in old.cells} & {_key(cell) for cell in new.cells})


def other_circumstances(old: Result, new: Result) -> list[str]:
    """Return the differences between the manifests that make figures hard to compare."""
    names = ("kernel", "cpu_model", "cores", "cpus", "congestion", "governor", "duration")
    pairs = [(name, getattr(old.manifest, name), getattr(new.manifest, name)) for name in names]
    pairs.append(("equal rates", _rates(old), _rates(new)))
    reached = [REACHED[each.manifest.reached] for each in (old, new)]
    pairs.append(("servers reached by", reached[0], reached[1]))
    then, now = old.manifest.images, new.manifest.images
    pairs += [(f"image {name}", then[name], now[name]) for name in then if name in now]
    return [f"{name}: {before}, then {after}" for name, before, after in pairs if before != after]


def _rates(result: Result) -> str:
    levels = {level_of(cell) for cell in result.cells if cell.of_peak is None}
    return ", ".join(str(each) for each in sorted(levels, key=lambda each: each.order) if each.rate)


def _key(cell: Cell) -> tuple[object, ...]:
    return (cell.architecture, cell.front, cell.route, cell.connections, level_of(cell))


def _of_cell(before: Cell, after: Cell) -> list[Change]:
    name = f"{after.architecture} {after.route} × {after.connections}"
    if after.mode == "open":
        name += f", {level_of(after)}"
    found = []
    if (before.verdict in _BAD) != (after.verdict in _BAD):
        worse = after.verdict in _BAD
        found.append(Change(name, "verdict", before.verdict, after.verdict, worse))
    for metric, unit in METRICS.items():
        if metric == "throughput" and after.of_peak is not None:
            continue  # the intended rate is a share of the peak
        then, now = figure(before, metric), figure(after, metric)
        if then is None or now is None or not _differs(then, now):
            continue
        worse = (now.median < then.median) == (metric == "throughput")
        found.append(Change(name, unit, _shown(then), _shown(now), worse))
    return found


def _differs(then: Interval, now: Interval) -> bool:
    far = abs(now.median - then.median) > LEAST * then.median
    return far and not overlap(then, now)


def _shown(one: Interval) -> str:
    digits = 0 if one.median >= 100 else 1 if one.median >= 10 else 2
    return f"{one.median:,.{digits}f} ({one.low:,.{digits}f}–{one.high:,.{digits}f})"
