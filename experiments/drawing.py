"""Line and bar charts of experiments, each with the same numbers as a table.

Colours are the house colours (pages: --c0 … --c7), in the order of the series.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from chainlab.pages.charts import Chart, Table, View
from chainlab.pages.formatting import number
from chainlab.pages.vega import COLOURS, SHAPES, axis, from_zero, log_axis, spec, tooltip

Points = Sequence[tuple[float, float]]

NAMES: Final = {
    "domain": False, "ticks": False, "labelLimit": 260, "labelPadding": 8,
    "labelExpr": "split(datum.label, '\\n')",
}  # fmt: skip
"""Axis of names; a name may have several lines: see `wrapped`."""


def wrapped(name: str) -> str:
    """Break a name into lines short enough for a phone."""
    return "\n".join(textwrap.wrap(name, 22))


def lines(
    key: str, title: str, text: str, series: Mapping[str, Points], x: str, y: str,
    *, log_x: bool = False, log_y: bool = False,
) -> Chart:  # fmt: skip
    """Return a chart with a line per series; `x` and `y` are axis titles with units."""
    rows: list[dict[str, Any]] = [
        {"s": name, "x": float(f"{across:.5g}"), "y": float(f"{up:.5g}")}
        for name, points in series.items()
        for across, up in points
    ]
    encoding = {
        "x": _axis("x", x, [row["x"] for row in rows], log=log_x),
        "y": _axis("y", y, [row["y"] for row in rows], log=log_y),
        "color": _scaled(series, COLOURS),
        "tooltip": tooltip(("s", "what"), ("x", x), ("y", y)),
    }
    layer = [
        {"mark": {"type": "line", "strokeJoin": "round", "strokeWidth": 2}},
        {
            "mark": {"type": "point", "filled": True, "size": 50},
            "encoding": {"shape": _scaled(series, SHAPES)},
        },
    ]
    drawn = spec(rows, 300, encoding=encoding, layer=layer)
    return _chart(key, title, text, drawn, _points_table(series, x), list(series))


def bars(
    key: str, title: str, text: str, rows: Mapping[str, float | Mapping[str, float]], unit: str,
    more: Mapping[str, Sequence[str]] | None = None,
) -> Chart:  # fmt: skip
    """Return a chart with a bar per row, in the given order; a row with parts is stacked.

    `more` are extra table columns: one text per row.
    """
    parted = {
        row: dict(value) if isinstance(value, Mapping) else {"": value}
        for row, value in rows.items()
    }
    parts = list(dict.fromkeys(part for value in parted.values() for part in value))
    drawn = spec(
        [
            {"r": wrapped(row), "s": part, "y": float(f"{value:.5g}"), "o": parts.index(part)}
            for row, values in parted.items()
            for part, value in values.items()
        ],
        34 * len(parted) + 4,
        encoding={
            "y": {"field": "r", "type": "nominal", "sort": [wrapped(row) for row in parted],
                  "title": None, "axis": NAMES},
        },
        layer=[_bar(parted, parts, unit), _ends(parted, unit)],
    )  # fmt: skip
    named = [part for part in parts if part]
    extra = more or {}
    head = ["", *(f"{part}, {unit}" if part else unit for part in parts), *extra]
    body = [
        [
            row,
            *(number(values[part]) if part in values else "–" for part in parts),
            *(column[at] for column in extra.values()),
        ]
        for at, (row, values) in enumerate(parted.items())
    ]
    return _chart(key, title, text, drawn, Table(head, body), named)


def _bar(parted: dict[str, dict[str, float]], parts: list[str], unit: str) -> dict[str, Any]:
    longest = max((sum(values.values()) for values in parted.values()), default=0)
    room = {"domain": [0, longest * 1.3 or 1], "nice": False}
    return {
        "mark": {"type": "bar", "stroke": "var(--paper)", "strokeWidth": 1},
        "encoding": {
            "x": axis("y", unit, stack="zero", scale=room, axis={"tickCount": 5}),
            "color": _scaled(parts, COLOURS),
            "order": {"field": "o", "type": "quantitative"},
            "tooltip": tooltip(("r", "what"), ("s", "part"), ("y", unit)),
        },
    }


def _ends(parted: dict[str, dict[str, float]], unit: str) -> dict[str, Any]:
    """Label each bar's end with its total."""
    values = [
        {"r": wrapped(row), "y": sum(values.values()), "end": number(sum(values.values()))}
        for row, values in parted.items()
    ]
    return {
        "data": {"values": values},
        "mark": {"type": "text", "align": "left", "dx": 4, "color": "var(--ink)"},
        "encoding": {"x": axis("y", unit), "text": {"field": "end"}},
    }


def _axis(name: str, title: str, values: Sequence[float], *, log: bool) -> dict[str, Any]:
    if log:
        return log_axis(name, title, values)
    return axis(name, title, scale=from_zero(values), axis={"tickCount": 6})


def _scaled(names: Sequence[str] | Mapping[str, Any], values: Sequence[str]) -> dict[str, Any]:
    scale = {"domain": list(names), "range": list(values[: len(names)])}
    return {"field": "s", "type": "nominal", "scale": scale, "legend": None}


def _points_table(series: Mapping[str, Points], x: str) -> Table:
    places = sorted({across for points in series.values() for across, _ in points})
    by_place = {name: dict(points) for name, points in series.items()}
    return Table(
        [x, *series],
        [
            [number(place), *(number(by_place[name].get(place)) for name in series)]
            for place in places
        ],
    )


def _chart(
    key: str, title: str, text: str, drawn: dict[str, Any], table: Table, names: list[str]
) -> Chart:
    legend = list(zip(COLOURS, names, strict=False)) if len(names) > 1 else []
    return Chart(key, title, text, [View("", drawn)], table, legend=legend)
