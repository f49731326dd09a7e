"""Throughput and latency against connections, or against an open loop's load.

An open loop's load is a rate that is the same for all, or a share of each architecture's own peak;
the two have separate figures. At shares, throughput is not drawn, because it would repeat the load.
A figure that is not valid is drawn as a cross instead of its architecture's marker.
"""

from collections.abc import Iterable
from functools import partial
from statistics import median
from typing import Final

from chainlab.pages.charts import Chart, View
from chainlab.pages.formatting import plural
from lab.compare.report.across import CONNECTIONS, RATE, SHARE, drawn, tabled
from lab.compare.report.sections import Section
from lab.compare.report.selection import by_place
from lab.compare.result import Cell, Interval, Result

TURNING: Final = ("wait", "cpu")
"""Routes whose work is not the server's own; they have a separate section."""

PERCENTILES: Final = {
    "p50": "p50_ms",
    "p99": "p99_ms",
    "p99.9": "p999_ms",
    "max": "max_ms",
}


def section(result: Result) -> Section:
    """Return throughput and latency on the routes where the server's own work dominates."""
    cells = [cell for cell in by_place(result) if cell.route not in TURNING]
    return Section(
        "load",
        "Throughput and latency",
        "More connections give a server more work at a time, until it is fully busy; beyond that, "
        "requests only wait longer.",
        charts(cells),
        absent="" if cells else f"this run requested only {' and '.join(TURNING)}, shown below",
        short="Load",
    )


def charts(cells: Iterable[Cell]) -> list[Chart]:
    """Return the figures per route and kind of load."""
    panels: dict[tuple[str, str, int], list[Cell]] = {}
    for cell in cells:
        if cell.summary:
            panels.setdefault(_panel(cell), []).append(cell)
    return [chart for panel, group in panels.items() for chart in _pair(*panel, group)]


def latency(cell: Cell, name: str) -> Interval | None:
    """Return a percentile in the rounds that count: median (of "max": the worst), low, high."""
    if cell.summary is None:
        return None
    if name == "p99":
        return cell.summary.p99_ms
    rounds = [each for each in cell.rounds if each.driver == cell.summary.driver]
    found = sorted(float(getattr(each.latency, PERCENTILES[name])) for each in rounds)
    if not found:
        return None
    return Interval(found[-1] if name == "max" else median(found), found[0], found[-1])


def throughput(cell: Cell) -> Interval | None:
    """Return the answers per second."""
    return cell.summary.throughput if cell.summary else None


def _panel(cell: Cell) -> tuple[str, str, int]:
    """Return the key of cells that share axes: route, kind, and an open loop's connections."""
    kind = cell.mode if cell.of_peak is None else "share"
    return cell.route, kind, cell.connections if cell.mode == "open" else 0


def _pair(route: str, kind: str, connections: int, cells: list[Cell]) -> list[Chart]:
    key = f"{route}-{kind}-{connections}"
    where = route
    across = {"closed": CONNECTIONS, "share": SHARE}.get(kind, RATE)
    if kind != "closed":
        where = f"{route}, open loop, {plural(connections, 'connection')}"
    latencies = _latency(key, where, across, cells)
    if kind == "share":
        return [latencies]
    return [
        Chart(
            f"throughput-{key}",
            f"Throughput on {where}",
            "Answers per second, median of the rounds; the bar through a marker is its "
            "95\u00a0% interval. Higher is better.",
            [View("", drawn(cells, throughput, across, "answers per second", "linear"))],
            tabled(cells, across, {"": throughput}),
            picked=True,
        ),
        latencies,
    ]


def _latency(key: str, where: str, across: str, cells: list[Cell]) -> Chart:
    views = [
        View(name, drawn(cells, partial(latency, name=name), across, "ms", "log"))
        for name in PERCENTILES
    ]
    begin = "sending" if across == CONNECTIONS else "the intended time"
    text = (
        f"From {begin} to the end of the answer, on a logarithmic axis, including failures. "
        "Lower is better."
    )
    if across == SHARE:
        text += (
            " Each architecture has its own rate, listed in the table of all figures: here they "
            "are equally busy, not equally fast."
        )
    return Chart(
        f"latency-{key}",
        f"Latency {'against load ' if across == SHARE else ''}on {where}",
        text,
        views,
        tabled(cells, across, {name: partial(latency, name=name) for name in PERCENTILES}),
        first=list(PERCENTILES).index("p99"),
        picked=True,
    )
