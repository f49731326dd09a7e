"""Full latency distributions, from the histograms, on axes that stretch the tail.

The horizontal axis is that of HdrHistogram's own plots: each further nine of the percentile takes
the same room, so that one request in 100,000 has its place beside the median.
"""

from typing import Any, Final

from hdrh.histogram import HdrHistogram

from loadtest.compare.result import Cell, Result
from loadtest.report.charts import Chart, Section, Table, View, most
from loadtest.report.picks import by_where
from loadtest.report.vega import axis, curves, log_axis, spec, tooltip
from loadtest.report.words import marked, number

NINES: Final = (
    0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 99.999,
)  # fmt: skip
TOLD: Final = (50.0, 90.0, 99.0, 99.9, 99.99, 100.0)
TICKS: Final = {1: "min", 2: "50 %", 10: "90 %", 100: "99 %", 1000: "99.9 %", 10000: "99.99 %"}


def section(result: Result) -> Section:
    """Return one figure, with a view for each place that was measured."""
    views, rows = [], []
    measured = [cell for cell in result.cells if cell.histogram]
    for where, cells in by_where(result, measured):
        points = []
        for cell in cells:
            histogram = HdrHistogram.decode(cell.histogram)
            points += _points(cell, histogram)
            values = [number(_ms(histogram, percentile)) for percentile in TOLD]
            values = [marked(value, cell.verdict) for value in values]
            rows.append([cell.architecture, where, f"{histogram.get_total_count():,}", *values])
        views.append(View(where, _spec(points)))
    head = ["architecture", "where", "requests", *(f"{each:g} %, ms" for each in TOLD[:-1])]
    chart = Chart(
        "distribution",
        "Latency, every percentile",
        "All requests of all rounds. To the right stands the tail: how long the slowest request in "
        "so many took. A line that stays low to its end is a server that keeps nobody waiting; "
        "its last point is the slowest request. One that ends in a cross is not valid.",
        views,
        Table([*head, "max, ms"], rows),
        first=most(result, views),
    )
    return Section(
        "distributions",
        "Latency distributions",
        "Where two medians are alike, the tails tell architectures apart.",
        [chart] if views else [],
        absent="" if views else "no round was driven by the driver that keeps histograms",
        short="Distributions",
    )


def _ms(histogram: Any, percentile: float) -> float:
    return max(1, int(histogram.get_value_at_percentile(percentile))) / 1000


def _points(cell: Cell, histogram: Any) -> list[dict[str, Any]]:
    total = int(histogram.get_total_count())
    rows: list[dict[str, Any]] = []
    for percentile in (*NINES, 100.0):
        left = total if percentile == 100 else 1 / (1 - percentile / 100)
        if left <= total:
            value = _ms(histogram, percentile)
            rows.append(
                {
                    "a": cell.architecture,
                    "x": float(f"{left:.4g}"),
                    "y": float(f"{value:.4g}"),
                    "v": cell.verdict,
                    "p": "max" if percentile == 100 else f"{percentile:g} %",
                }
            )
    if rows:
        rows[-1]["end"] = 1
    return rows


def _spec(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = "{" + ", ".join(f"'{at}': '{text}'" for at, text in TICKS.items()) + "}"
    ticks = {"values": list(TICKS), "labelExpr": f"{names}[datum.value]", "labelOverlap": True}
    told = tooltip(("a", "architecture"), ("p", "percentile"), ("y", "ms"), ("v", "verdict"))
    return spec(
        rows,
        340,
        encoding={
            "x": axis("x", "percentile", scale={"type": "log", "nice": False}, axis=ticks),
            "y": log_axis("y", "ms", [row["y"] for row in rows]),
        },
        layer=[
            *curves(told, "datum.end"),
            {  # wide, unseen: what a pointer finds
                "mark": {"type": "point", "filled": True, "opacity": 0, "size": 120},
                "encoding": {"tooltip": told},
            },
        ],
    )
