"""Throughput and latency against connections, or against the load where the loop was open.

An open loop's load is a rate that is the same for all, or a share of each one's own peak: the two
have figures of their own. At shares there is none of throughput, which would be the load again.
A figure that is not valid is drawn as a cross, whatever its architecture's marker is.
"""

from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from typing import Any, Final

from loadtest.compare.result import Cell, Interval, Result
from loadtest.report.charts import Chart, Section, Table, View
from loadtest.report.picks import by_place
from loadtest.report.vega import axis, by_slot, curves, from_zero, log_axis, spec, tooltip
from loadtest.report.words import marked, number, plural, span

TURNING: Final = ("wait", "cpu")
"""Routes whose work is not the server's own; they have a section to themselves."""

PERCENTILES: Final = {
    "p50": "p50_ms",
    "p99": "p99_ms",
    "p99.9": "p999_ms",
    "max": "max_ms",
}

SHARE: Final = "% of its own peak"
"""What an axis of shares is called."""
_LOG2: Final = {"type": "log", "base": 2}

Value = Callable[[Cell], Interval | None]


def section(result: Result) -> Section:
    """Return throughput and latency on the routes where the server itself is what costs."""
    cells = [cell for cell in by_place(result) if cell.route not in TURNING]
    return Section(
        "load",
        "Throughput and latency",
        "More connections give a server more to do at a time, until it is busy without a pause; "
        "from there on they only wait longer.",
        charts(cells),
        absent="" if cells else f"only {', '.join(TURNING)} were asked, which stand further below",
        short="Load",
    )


def charts(cells: Iterable[Cell]) -> list[Chart]:
    """Return the figures of each route and kind of load."""
    panels: dict[tuple[str, str, int], list[Cell]] = {}
    for cell in cells:
        if cell.summary:
            panels.setdefault(_panel(cell), []).append(cell)
    return [chart for panel, group in panels.items() for chart in _pair(*panel, group)]


def latency(cell: Cell, name: str) -> Interval | None:
    """Return a percentile of the rounds that count: median, lowest, highest; max: the worst."""
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
    """Cells that share their axes."""
    kind = cell.mode if cell.of_peak is None else "share"
    return cell.route, kind, cell.connections if cell.mode == "open" else 0


def _pair(route: str, kind: str, connections: int, cells: list[Cell]) -> list[Chart]:
    key = f"{route}-{kind}-{connections}"
    where, across = route, "connections"
    if kind != "closed":
        where = f"{route}, open loop, {plural(connections, 'connection')}"
        across = SHARE if kind == "share" else "intended requests per second"
    latencies = _latency(key, where, across, cells)
    if kind == "share":
        return [latencies]
    return [
        Chart(
            f"throughput-{key}",
            f"Throughput on {where}",
            "Answers per second, median of the rounds; the bar through a marker is its "
            "interval, in which it lies with 95\u00a0% certainty. Higher is better.",
            [View("", _spec(cells, throughput, across, "answers per second", "linear"))],
            _table(cells, across, {"": throughput}),
        ),
        latencies,
    ]


def _latency(key: str, where: str, across: str, cells: list[Cell]) -> Chart:
    against = "against load " if across == SHARE else ""
    views = [
        View(name, _spec(cells, partial(latency, name=name), across, "ms", "log"))
        for name in PERCENTILES
    ]
    begin = "sending" if across == "connections" else "the intended time"
    own = (
        "Each at shares of its own peak, so as busy as the others, not as fast; its rates are in "
        "the table of all figures. "
    )
    return Chart(
        f"latency-{key}",
        f"Latency {against}on {where}",
        f"{own if against else ''}From {begin} to the end of the "
        "answer, on a logarithmic axis; failures are in it. Lower is better.",
        views,
        _table(cells, across, {name: partial(latency, name=name) for name in PERCENTILES}),
        first=list(PERCENTILES).index("p99"),
    )


def _at(cell: Cell) -> float:
    if cell.of_peak is not None:
        return round(cell.of_peak * 100)
    return cell.connections if cell.rate is None else cell.rate


def _spec(cells: list[Cell], value: Value, across: str, unit: str, scale: str) -> dict[str, Any]:
    rows = []
    for cell in cells:
        if (found := value(cell)) and (found.median > 0 or scale == "linear"):
            shown = f"{number(found.median)} ({span(found)})"
            floor = 0 if scale == "linear" else found.median / 1000
            rows.append(
                {
                    "a": cell.architecture,
                    "x": _at(cell),
                    "y": float(f"{found.median:.5g}"),
                    "lo": float(f"{max(found.low, floor):.5g}"),
                    "hi": float(f"{found.high:.5g}"),
                    "v": cell.verdict,
                    "t": shown,
                }
            )
    return spec(rows, 300, encoding=_axes(rows, across, unit, scale), layer=_layers(across, unit))


def _axes(rows: list[dict[str, Any]], across: str, unit: str, scale: str) -> dict[str, Any]:
    ticks = sorted({row["x"] for row in rows})
    return {
        "x": axis(
            "x",
            across,
            scale={
                **({"type": "linear", "zero": False} if across == SHARE else _LOG2),
                "domain": ticks[:1] + ticks[-1:],
                "padding": 12,
            },
            axis={"values": ticks, "grid": False, "format": ",.0f", "labelOverlap": True},
        ),
        "y": _up(rows, unit) if scale == "linear" else log_axis("y", unit, _ends(rows)),
    }


def _up(rows: list[dict[str, Any]], unit: str) -> dict[str, Any]:
    thousands = max(_ends(rows), default=0) >= 10_000
    label = "format(datum.value / 1000, '~r') + (datum.value ? 'k' : '')"
    return axis(
        "y",
        unit,
        scale=from_zero(_ends(rows)),
        axis={"tickCount": 6, **({"labelExpr": label} if thousands else {})},
    )


def _ends(rows: list[dict[str, Any]]) -> list[float]:
    return [float(row[name]) for row in rows for name in ("lo", "y", "hi")]


def _layers(across: str, unit: str) -> list[dict[str, Any]]:
    told = tooltip(("a", "architecture"), ("x", across), ("t", unit), ("v", "verdict"))
    interval = {
        "mark": {"type": "rule", "strokeWidth": 1.5},
        "transform": [{"filter": "datum.slot >= 0"}],
        "encoding": {
            "y": axis("lo", unit),
            "y2": {"field": "hi"},
            "color": by_slot("color"),
        },
    }
    return [interval, *curves(told)]


def _table(cells: list[Cell], across: str, values: dict[str, Value]) -> Table:
    """A row for each architecture and value, a column for each place on the axis."""
    places = sorted({_at(cell) for cell in cells})
    rows = []
    for name in dict.fromkeys(cell.architecture for cell in cells):
        at = {_at(cell): cell for cell in cells if cell.architecture == name}
        for title, value in values.items():
            found = [_shown(at[place], value) if place in at else "–" for place in places]
            rows.append([name, *([title] if title else []), *found])
    head = ["architecture", *(["percentile, ms"] if "" not in values else [])]
    short = {"connections": "connections", SHARE: SHARE}.get(across, "per second")
    return Table([*head, *(f"{number(place)} {short}" for place in places)], rows)


def _shown(cell: Cell, value: Value) -> str:
    found = value(cell)
    return marked(f"{number(found.median)} ({span(found)})", cell.verdict) if found else "–"
