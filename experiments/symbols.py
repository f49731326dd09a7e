"""More charts: fitted lines, strips of events, matrices of dots."""

from collections.abc import Mapping, Sequence
from typing import Any

from chainlab.pages.charts import Chart, Table, View
from chainlab.pages.vega import COLOURS, axis, from_zero, spec, tooltip
from experiments.drawing import NAMES, wrapped


def with_fits(chart: Chart, fits: Mapping[str, Sequence[tuple[float, float]]]) -> Chart:
    """Add dashed fitted lines to a line chart: points by name."""
    fitted = [
        {"s": name, "x": float(f"{x:.5g}"), "y": float(f"{y:.5g}")}
        for name, points in fits.items()
        for x, y in points
    ]
    chart.views[0].spec["layer"].append(
        {
            "data": {"values": fitted},
            "mark": {"type": "line", "strokeDash": [3, 3], "strokeWidth": 1, "color": "var(--ink)"},
            "encoding": {"color": {"value": "var(--ink)"}, "detail": {"field": "s"}},
        }
    )
    return chart


def strip(
    key: str, title: str, text: str, rows: Mapping[str, Mapping[str, Sequence[float]]], x: str
) -> Chart:
    """Return a chart with a strip per row: ticks along `x` for each kind of event."""
    kinds = list(dict.fromkeys(kind for row in rows.values() for kind in row))
    values: list[dict[str, Any]] = [
        {"r": wrapped(name), "s": kind, "x": place}
        for name, row in rows.items()
        for kind in kinds
        for place in row.get(kind, ())
    ]
    scale = {"domain": kinds, "range": COLOURS[: len(kinds)]}
    drawn = spec(
        values,
        44 * len(rows),
        mark={"type": "tick", "thickness": 2, "opacity": 1},
        encoding={
            "x": axis("x", x, scale=from_zero([each["x"] for each in values])),
            "y": {
                "field": "r",
                "type": "nominal",
                "sort": [wrapped(name) for name in rows],
                "title": None,
                "axis": {**NAMES, "grid": False},
            },
            "yOffset": {"field": "s", "type": "nominal", "sort": kinds},
            "color": {"field": "s", "type": "nominal", "scale": scale, "legend": None},
            "tooltip": tooltip(("r", "row"), ("s", "event"), ("x", x)),
        },
    )
    table = Table(
        ["", *kinds],
        [[name, *(str(len(row.get(kind, ()))) for kind in kinds)] for name, row in rows.items()],
    )
    legend = list(zip(COLOURS, kinds, strict=False))
    return Chart(key, title, text, [View("", drawn)], table, legend=legend)


def matrix(
    key: str, title: str, text: str, rows: Mapping[str, Mapping[str, str]], columns: Sequence[str]
) -> Chart:
    """Return a chart with a dot for each row and column in the mapping, whose value is its kind."""
    kinds = list(dict.fromkeys(kind for row in rows.values() for kind in row.values()))
    values: list[dict[str, Any]] = [
        {"r": wrapped(name), "c": column, "s": kind}
        for name, row in rows.items()
        for column, kind in row.items()
    ]
    scale = {"domain": kinds, "range": COLOURS[: len(kinds)]}
    names = {"type": "nominal", "title": None}
    drawn = spec(
        values,
        40 * len(rows),
        mark={"type": "circle", "size": 160, "opacity": 1},
        encoding={
            "x": {"field": "c", **names, "scale": {"domain": list(columns)},
                  "axis": {**NAMES, "orient": "top", "labelAngle": -90}},
            "y": {"field": "r", **names, "sort": [wrapped(name) for name in rows],
                  "axis": {**NAMES, "grid": True}},
            "color": {"field": "s", "type": "nominal", "scale": scale, "legend": None},
            "tooltip": tooltip(("r", "row"), ("c", "column"), ("s", "kind")),
        },
    )  # fmt: skip
    table = Table(
        ["", *columns],
        [[name, *(row.get(column, "–") for column in columns)] for name, row in rows.items()],
    )
    legend = list(zip(COLOURS, kinds, strict=False))
    return Chart(key, title, text, [View("", drawn)], table, legend=legend)
