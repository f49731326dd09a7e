"""Sentences on which architectures lead on a route, by how much, and what is within the noise.

Neighbouring numbers of connections with the same leaders make one sentence; each load of an open
loop has its own sentences. An architecture without a place because the generator was the limit is
named, because it may be faster than the leader.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Final

from chainlab.pages.formatting import joined, number
from lab.compare.drive.levels import CLOSED, Level, level_of
from lab.compare.report.formatting import load, span
from lab.compare.result import Cell, Interval, Metric, Result, Standing

FEW: Final = 6  # names in a sentence


def findings(result: Result, route: str, metric: Metric) -> list[str]:
    """Return one sentence for each series of connection numbers with the same leaders."""
    standings = sorted(
        (each for each in result.standings if (each.route, each.metric) == (route, metric)),
        key=lambda each: (level_of(each).order, each.connections),
    )
    return [_sentence(result, list(group)) for _, group in groupby(standings, key=_leaders)]


def _leaders(standing: Standing) -> tuple[Level, frozenset[str], bool, bool]:
    first = frozenset(standing.places[0].architectures) if standing.places else frozenset()
    return level_of(standing), first, len(standing.places) == 1, bool(first)


def _sentence(result: Result, group: list[Standing]) -> str:
    where = f"At {_connections(group)}{_load(group[0])},"
    metric = group[0].metric
    if not group[0].places:
        return f"{where} no architecture has a place by {_NAMES[metric]}: {_unplaced(group[0])}."
    first = group[-1].places[0].architectures
    figures = _figures(result, group, first)
    if len(group[0].places) == 1 and len(first) > 1:
        finding = f"{_some(first)} cannot be told apart {_BY[metric]}{figures}"
    elif len(first) == 1:
        finding = f"{first[0]} {_ONE[metric]}{figures}"
        if len(group[0].places) == 1:
            finding += ", the only one with a place"
    else:
        finding = f"{_some(first)} share the lead {_BY[metric]}{figures}, within the noise"
    finding += _next(result, group)
    return f"{where} {finding}.{_bound(group)}".replace(" %", "\u00a0%")


_NAMES = {"throughput": "throughput", "cpu": "CPU per request", "p99": "p99 latency"}
_BY = {"throughput": "in throughput", "cpu": "in CPU per request", "p99": "in p99 latency"}
_ONE = {
    "throughput": "leads in throughput",
    "cpu": "costs the least CPU per request",
    "p99": "has the lowest p99 latency",
}
_UNITS = {"throughput": "answers/s", "cpu": "µs", "p99": "ms"}


def _connections(group: Iterable[Standing]) -> str:
    counts = [each.connections for each in group]
    return f"{joined([f'{each:,}' for each in counts])} connection{'s' * (counts != [1])}"


def _load(standing: Standing) -> str:
    level = level_of(standing)
    if level == CLOSED:
        return ""
    return f", each at {level}" if level.of_peak is not None else f" and {load(standing)}"


def _figures(result: Result, group: list[Standing], names: list[str]) -> str:
    """Return one leader's figures, or the range of several, at the group's most connections."""
    metric = group[-1].metric
    cells = [cell for name in names if (cell := _cell(result, group[-1], name))]
    intervals = [each for cell in cells if (each := _interval_of(cell, metric))]
    if not intervals:
        return ""
    low, high = min(each.low for each in intervals), max(each.high for each in intervals)
    whole = Interval(intervals[0].median, low, high)
    at = f" at {group[-1].connections:,}" if len(group) > 1 else ""
    doubts = "".join(f", {each}" for each in sorted({cell.verdict for cell in cells} - {"valid"}))
    if len(names) > 1:
        return f" ({span(whole)} {_UNITS[metric]}{at}{doubts})"
    figure = f"{number(whole.median)} {_UNITS[metric]}{at}"
    return f" ({figure}, 95 % interval {span(whole)}{doubts})"


def _next(result: Result, group: list[Standing]) -> str:
    """Return which architectures follow the leaders, and how far behind by the medians."""
    last = group[-1]
    if len(last.places) < 2:
        return ""
    names = last.places[1].architectures
    followers = f"at {last.connections:,} {_some(names)}" if len(group) > 1 else _some(names)
    ours = _interval(result, last, last.places[0].architectures[-1])
    theirs = _interval(result, last, names[0])
    if ours is None or theirs is None or not min(ours.median, theirs.median):
        return f"; {followers} {'follow' if len(names) > 1 else 'follows'}"
    follow = "follow together" if len(names) > 1 else "follows"
    return f"; {followers} {follow}, {_apart(last.metric, theirs.median / ours.median)}"


def _apart(metric: str, ratio: float) -> str:
    """Return the distance to the leader: `30 % behind`, `at 4.5 times the cost`."""
    if ratio >= 2:
        return f"at {number(ratio)} times the {'cost' if metric == 'cpu' else 'time'}"
    how = {"throughput": "behind", "cpu": "more expensive", "p99": "slower"}[metric]
    percent = abs(ratio - 1) * 100
    return f"{percent:.0f} % {how}" if percent >= 1 else f"less than 1 % {how}"


def _bound(group: list[Standing]) -> str:
    """Name the architectures that may be faster than the leaders but outrun the generator."""
    if group[0].metric != "throughput":
        return ""
    names = [
        name
        for name in dict.fromkeys(name for each in group for name in each.unplaced)
        if any(each.unplaced.get(name) == "generator-bound" for each in group)
    ]
    if not names:
        return ""
    verb = "is" if len(names) == 1 else "are"
    return f" Not ranked: {_some(names)} {verb} generator-bound and may be faster than shown."


def _cell(result: Result, standing: Standing, name: str) -> Cell | None:
    for cell in result.cells:
        at = cell.architecture, cell.route, cell.connections, level_of(cell)
        wanted = name, standing.route, standing.connections, level_of(standing)
        if at == wanted and cell.summary:
            return cell
    return None


def _interval(result: Result, standing: Standing, name: str) -> Interval | None:
    cell = _cell(result, standing, name)
    return _interval_of(cell, standing.metric) if cell else None


def _interval_of(cell: Cell, metric: str) -> Interval | None:
    """Return a cell's interval of `metric`."""
    if cell.summary is None:
        return None
    return {
        "throughput": cell.summary.throughput,
        "cpu": cell.summary.cpu_us,
        "p99": cell.summary.p99_ms,
    }[metric]


def _some(names: list[str]) -> str:
    if len(names) <= FEW:
        return joined(names)
    return f"{', '.join(names[: FEW - 1])} and {len(names) - FEW + 1} more"


def _unplaced(standing: Standing) -> str:
    if not standing.unplaced:
        return "nothing was measured"
    by_verdict: dict[str, list[str]] = {}
    for name, verdict in standing.unplaced.items():
        by_verdict.setdefault(verdict, []).append(name)
    return "; ".join(
        f"{_some(names)} {_REASONS[verdict][len(names) > 1]}"
        for verdict, names in by_verdict.items()
    )


_REASONS: Final = {
    "noisy": ("is noisy", "are noisy"),
    "generator-bound": ("is generator-bound", "are generator-bound"),
    "errors": ("had errors", "had errors"),
    "wrong-answers": ("gave wrong answers", "gave wrong answers"),
    "unavailable": ("was not measured", "were not measured"),
}
"""Why architectures have no place, for one and for several."""
