"""The routes that change the order of architectures: those that wait, and those that burn CPU.

If a request waits for something else, what counts is how many requests can wait at a time, not how
cheap the server is. If it burns CPU, what counts is how many cores the architecture uses.
"""

from typing import Any, Final

from chainlab.pages.charts import Chart, Table, View
from chainlab.pages.formatting import number, plural
from chainlab.pages.vega import axis, from_zero, spec, tooltip
from lab.compare.report import lines
from lab.compare.report.formatting import marked
from lab.compare.report.legend import curves
from lab.compare.report.order_reversals import turned
from lab.compare.report.sections import Section
from lab.compare.report.selection import by_place, routes_of
from lab.compare.result import Cell, Result, Standing

WHOLE: Final = ("valid", "generator-bound")
"""Verdicts whose figures others may be compared with; generator-bound ones are lower bounds."""


def section(result: Result) -> Section:
    """Return how the order changes, then throughput and latency on these routes."""
    routes = routes_of(result)
    cells = [cell for cell in by_place(result) if cell.route in lines.TURNING]
    shares = _shares(result) if cells and len(routes) > 1 else {}
    views = [
        View(plural(connections, "connection"), _spec(rows, routes))
        for connections, rows in shares.items()
    ]
    shares_chart = Chart(
        "turn",
        "The same servers on each route",
        "Throughput as a share of the route's highest among valid and generator-bound figures "
        "(among all, if there are none of these). Lines that cross are architectures whose order "
        "depends on the work.",
        views,
        _table(result, routes, shares),
        first=max(len(views) - 1, 0),
        picked=True,
    )
    missing = [route for route in lines.TURNING if route not in routes]
    return Section(
        "turning",
        "Routes that change the order",
        "On wait, a request waits for something else: what counts is how many can wait at a time. "
        "On cpu, it burns CPU: what counts is how many cores an architecture uses.",
        [*([shares_chart] if views else []), *lines.charts(cells)],
        sentences=[
            *(sentence for route in routes for sentence in turned(result, route)),
            *(f"{route}: not measured, this run did not request it." for route in missing),
        ],
        absent="" if cells else f"this run requested only {', '.join(routes) or 'nothing'}",
        short="wait and cpu",
    )


def _shares(result: Result) -> dict[int, list[dict[str, Any]]]:
    """Return shares of the highest throughput in %, by connections that several routes have."""
    found: dict[int, list[dict[str, Any]]] = {}
    closed = [cell for cell in by_place(result) if cell.mode == "closed" and cell.summary]
    for connections in sorted({cell.connections for cell in closed}):
        here = [cell for cell in closed if cell.connections == connections]
        if len({cell.route for cell in here}) > 1:
            found[connections] = [row for cell in here for row in _share(cell, here)]
    return found


def _share(cell: Cell, others: list[Cell]) -> list[dict[str, Any]]:
    here = [each for each in others if each.route == cell.route]
    right = [each for each in here if each.verdict in WHOLE] or here
    best = max((each.summary.throughput.median for each in right if each.summary), default=0)
    if not best or cell.summary is None:
        return []
    share = cell.summary.throughput.median / best * 100
    rate = f"{number(cell.summary.throughput.median)} answers/s"
    return [
        {
            "a": cell.architecture,
            "x": cell.route,
            "y": float(f"{share:.4g}"),
            "v": cell.verdict,
            "t": f"{share:.0f} % ({rate})",
        }
    ]


def _spec(rows: list[dict[str, Any]], routes: list[str]) -> dict[str, Any]:
    x = {
        "field": "x",
        "type": "ordinal",
        "title": "route",
        "scale": {"type": "point", "padding": 0.25, "domain": routes},
        "axis": {"labelAngle": 0, "grid": True},
    }
    y = axis(
        "y", "% of the highest", scale=from_zero([row["y"] for row in rows]), axis={"tickCount": 5}
    )
    tips = tooltip(("a", "architecture"), ("x", "route"), ("t", "share"), ("v", "verdict"))
    return spec(rows, 320, encoding={"x": x, "y": y}, layer=curves(tips))


def _table(result: Result, routes: list[str], shares: dict[int, list[dict[str, Any]]]) -> Table:
    places = {
        (each.route, each.connections): _places(each)
        for each in result.standings
        if each.metric == "throughput"
    }
    rows = []
    for connections, found in shares.items():
        for name in dict.fromkeys(row["a"] for row in found):
            texts = {row["x"]: marked(row["t"], row["v"]) for row in found if row["a"] == name}
            for route in texts:
                if place := places.get((route, connections), {}).get(name):
                    texts[route] += f", place {place}"
            rows.append([name, f"{connections:,}", *(texts.get(route, "–") for route in routes)])
    return Table(["architecture", "connections", *routes], rows)


def _places(standing: Standing) -> dict[str, int]:
    return {name: each.place for each in standing.places for name in each.architectures}
