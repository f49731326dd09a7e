"""Ranks architectures as far as the rounds can tell: tie groups instead of ranks, and crossings.

Two architectures whose intervals overlap cannot be told apart, so they share a place. Overlap is
not transitive: a chain A–B–C of overlaps shares one place although A and C do not overlap. Cutting
at the leader's interval instead would give B and C different places, and the next run might swap
them.

Each load has its own ranking: the order at 1,000 requests per second may differ from that at 90 %
of the peaks.
"""

from collections.abc import Sequence
from itertools import combinations

from lab.compare.drive.levels import Level, level_of
from lab.compare.judge.intervals import overlap
from lab.compare.result import Cell, Crossing, Interval, Metric, Place, Standing


def standings(cells: Sequence[Cell]) -> list[Standing]:
    """Return the places by route, connections, load and metric, in the order of the cells."""
    groups: dict[tuple[str, int, Level], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.route, cell.connections, level_of(cell)), []).append(cell)
    found = []
    for (route, connections, level), group in groups.items():
        metrics: list[Metric] = ["throughput" if group[0].mode == "closed" else "p99", "cpu"]
        for metric in metrics:
            measured = {cell.architecture: figure(cell, metric) for cell in group}
            placed = {name: each for name, each in measured.items() if each is not None}
            unplaced = {c.architecture: c.verdict for c in group if c.architecture not in placed}
            ranked = places(placed, more_is_better=metric == "throughput")
            at = (route, connections, level.rate, level.of_peak)
            found.append(Standing(*at, metric, ranked, dict(unplaced)))
    return found


def figure(cell: Cell, metric: Metric) -> Interval | None:
    """Return the figure to rank a cell by; None if its verdict excludes it from the ranking.

    A generator at its limit distorts rates and latencies, but not the CPU cost of a request.
    """
    if cell.summary is None:
        return None
    if metric == "cpu":
        return cell.summary.cpu_us if cell.verdict in ("valid", "generator-bound") else None
    if cell.verdict != "valid":
        return None
    return cell.summary.throughput if metric == "throughput" else cell.summary.p99_ms


def places(figures: dict[str, Interval], *, more_is_better: bool) -> list[Place]:
    """Return tie groups, the best first; the module's docstring says how they are formed."""
    sign = -1 if more_is_better else 1
    signed = {  # less is better
        name: Interval(sign * each.median, *sorted((sign * each.low, sign * each.high)))
        for name, each in figures.items()
    }
    groups: list[list[str]] = []
    reach = 0.0  # the highest upper bound in the last group
    for name in sorted(signed, key=lambda name: signed[name].low):
        if not groups or signed[name].low > reach:
            groups.append([])
            reach = signed[name].high
        groups[-1].append(name)
        reach = max(reach, signed[name].high)
    found: list[Place] = []
    for group in groups:
        place = 1 + sum(len(each.architectures) for each in found)
        found.append(Place(place, sorted(group, key=lambda name: signed[name].median)))
    return found


def crossings(cells: Sequence[Cell]) -> list[Crossing]:
    """Return where one architecture leads another with few connections and trails it with more."""
    found = []
    routes = dict.fromkeys(cell.route for cell in cells if cell.mode == "closed")
    for route in routes:
        curves: dict[str, dict[int, Interval]] = {}
        for cell in cells:
            known = figure(cell, "throughput") if cell.mode == "closed" else None
            if cell.route == route and known is not None:
                curves.setdefault(cell.architecture, {})[cell.connections] = known
        for first, second in combinations(curves, 2):
            found += _cross(route, (first, curves[first]), (second, curves[second]))
    return found


def _cross(
    route: str, one: tuple[str, dict[int, Interval]], other: tuple[str, dict[int, Interval]]
) -> list[Crossing]:
    """Return the crossings of two curves; where their intervals overlap, neither is ahead."""
    found: list[Crossing] = []
    last: tuple[int, bool] | None = None
    for connections in sorted(one[1].keys() & other[1].keys()):
        ours, theirs = one[1][connections], other[1][connections]
        if overlap(ours, theirs):
            continue
        ahead = ours.median > theirs.median
        if last is not None and last[1] != ahead:
            first, second = (one[0], other[0]) if last[1] else (other[0], one[0])
            upto = f"{last[0]} connection{'s' if last[0] > 1 else ''}"
            sentence = f"{first} leads {second} up to {upto} and trails it from {connections}"
            found.append(Crossing(route, first, second, sentence))
        last = (connections, ahead)
    return found
