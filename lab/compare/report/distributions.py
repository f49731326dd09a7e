"""Full latency distributions, from the histograms, on axes that stretch the tail.

The horizontal axis is that of HdrHistogram's own plots: each further nine of the percentile takes
the same width, so that one request in 100,000 is as visible as the median.
"""

from typing import Any, Final

from hdrh.histogram import HdrHistogram

from chainlab.pages.charts import Chart, Table, View
from chainlab.pages.formatting import number
from chainlab.pages.vega import axis, log_axis, spec, tooltip
from lab.compare.report.formatting import marked
from lab.compare.report.legend import curves
from lab.compare.report.sections import Section, most
from lab.compare.report.selection import by_where
from lab.compare.result import Cell, Result

NINES: Final = (
    0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 99.999,
)  # fmt: skip
COLUMNS: Final = (50.0, 90.0, 99.0, 99.9, 99.99, 100.0)
TICKS: Final = {1: "min", 2: "50 %", 10: "90 %", 100: "99 %", 1000: "99.9 %", 10000: "99.99 %"}


def section(result: Result) -> Section:
    """Return one figure, with a view per route, connections and load."""
    views, rows = [], []
    measured = [cell for cell in result.cells if cell.histogram]
    for where, cells in by_where(result, measured):
        points = []
        for cell in cells:
            histogram = HdrHistogram.decode(cell.histogram)
            if not (total := int(histogram.get_total_count())):
                continue
            values = _milliseconds(histogram)
            points.append(_curve(cell, total, values))
            figures = [marked(number(values[each]), cell.verdict) for each in COLUMNS]
            rows.append([cell.architecture, where, f"{total:,}", *figures])
        views.append(View(where, _spec(points)))
    head = ["architecture", "where", "requests", *(f"{each:g} %, ms" for each in COLUMNS[:-1])]
    chart = Chart(
        "distribution",
        "Latency, every percentile",
        "All requests of all rounds. The tail is on the right: how long the slowest request in so "
        "many took; the last point is the slowest of all. A line that stays low to its end is a "
        "server that keeps no client waiting. A line that ends in a cross is not valid.",
        views,
        Table([*head, "max, ms"], rows),
        first=most(result, views),
        picked=True,
    )
    return Section(
        "distributions",
        "Latency distributions",
        "Architectures with similar medians may differ in their tails.",
        [chart] if views else [],
        absent="" if views else "no round was driven by openloop, which keeps histograms",
        short="Distributions",
    )


def _milliseconds(histogram: Any) -> dict[float, float]:
    """Return the values of NINES and COLUMNS in one pass, which is much faster."""
    values = histogram.get_percentile_to_value_dict([*NINES, *COLUMNS])
    return {percentile: max(1, int(value)) / 1000 for percentile, value in values.items()}


def _curve(cell: Cell, total: int, values: dict[float, float]) -> dict[str, Any]:
    """Return a row whose `x` and `y` are lists: 1 in so many requests, and ms."""
    points = {1 / (1 - percentile / 100): values[percentile] for percentile in NINES}
    points = {float(f"{left:.4g}"): value for left, value in points.items() if left < total}
    points[total] = values[100.0]
    return {
        "a": cell.architecture,
        "v": cell.verdict,
        "n": total,
        "x": list(points),
        "y": [float(f"{value:.4g}") for value in points.values()],
    }


def _spec(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = "{" + ", ".join(f"'{at}': '{text}'" for at, text in TICKS.items()) + "}"
    ticks = {"values": list(TICKS), "labelExpr": f"{names}[datum.value]", "labelOverlap": "greedy"}
    most_requests = max((row["n"] for row in rows), default=2)
    tips = tooltip(("a", "architecture"), ("p", "percentile"), ("y", "ms"), ("v", "verdict"))
    percentile = "datum.x == datum.n ? 'max' : format(100 - 100 / datum.x, '.5~g') + ' %'"
    return spec(
        rows,
        340,
        transform=[{"flatten": ["x", "y"]}, {"calculate": percentile, "as": "p"}],
        encoding={
            "x": axis(
                "x", "percentile", scale={"type": "log", "domain": [1, most_requests]}, axis=ticks
            ),
            "y": log_axis("y", "ms", [value for row in rows for value in row["y"]]),
        },
        layer=[
            *curves(tips, "datum.x == datum.n"),
            {  # large invisible points, easy to hover over
                "mark": {"type": "point", "filled": True, "opacity": 0, "size": 120},
                "encoding": {"tooltip": tips},
            },
        ],
    )
