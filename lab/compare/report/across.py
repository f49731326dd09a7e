"""Draws a value of each cell against connections, rates or shares of a peak, or as a table."""

from collections.abc import Callable
from typing import Any, Final

from chainlab.pages.charts import Table
from chainlab.pages.formatting import number
from chainlab.pages.vega import axis, from_zero, log_axis, spec, tooltip
from lab.compare.report.formatting import marked, span
from lab.compare.report.legend import by_slot, curves
from lab.compare.result import Cell, Interval

CONNECTIONS: Final = "connections"
RATE: Final = "intended requests per second"
SHARE: Final = "% of its own peak"
"""The horizontal axes."""
_LOG2: Final = {"type": "log", "base": 2}

Value = Callable[[Cell], Interval | None]


def _at(cell: Cell) -> float:
    if cell.of_peak is not None:
        return round(cell.of_peak * 100)
    return cell.connections if cell.rate is None else cell.rate


def drawn(cells: list[Cell], value: Value, across: str, unit: str, scale: str) -> dict[str, Any]:
    """Return curves of a value on a "linear" or "log" scale."""
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
    tips = tooltip(("a", "architecture"), ("x", across), ("t", unit), ("v", "verdict"))
    interval = {
        "mark": {"type": "rule", "strokeWidth": 1.5},
        "transform": [{"filter": "datum.slot >= 0"}],
        "encoding": {
            "y": axis("lo", unit),
            "y2": {"field": "hi"},
            "color": by_slot("color"),
        },
    }
    return [interval, *curves(tips)]


def tabled(cells: list[Cell], across: str, values: dict[str, Value]) -> Table:
    """Return a row per architecture and value, and a column per place on the axis."""
    places = sorted({_at(cell) for cell in cells})
    rows = []
    for name in dict.fromkeys(cell.architecture for cell in cells):
        at = {_at(cell): cell for cell in cells if cell.architecture == name}
        for title, value in values.items():
            found = [_shown(at[place], value) if place in at else "–" for place in places]
            rows.append([name, *([title] if title else []), *found])
    head = ["architecture", *(["percentile, ms"] if "" not in values else [])]
    short = "per second" if across == RATE else across
    return Table([*head, *(f"{number(place)} {short}" for place in places)], rows)


def _shown(cell: Cell, value: Value) -> str:
    found = value(cell)
    return marked(f"{number(found.median)} ({span(found)})", cell.verdict) if found else "–"
