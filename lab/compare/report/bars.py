"""Stacked bars, one per architecture.

Each kind has the same order and colour in every bar. The total is at the end of the bar. The bar of
a figure that is not valid is pale, with its verdict at the end.
"""

from collections.abc import Sequence
from typing import Any

from chainlab.pages.formatting import number
from chainlab.pages.vega import axis, spec, tooltip
from lab.compare.report.formatting import marked

Bar = tuple[str, str, float, str]
"""Row, kind (which sets the colour), value, verdict."""


def stacked(bars: Sequence[Bar], kinds: dict[str, str], unit: str) -> dict[str, Any]:
    """Return bars, the shortest first, with the total and the verdict at the end of each."""
    totals: dict[str, float] = {}
    verdicts: dict[str, str] = {}
    for row, _, value, verdict in bars:
        totals[row] = totals.get(row, 0) + value
        verdicts[row] = verdict
    ranked = sorted(totals, key=lambda row: totals[row])
    values = [
        {
            "r": row,
            "k": kind,
            "y": float(f"{value:.4g}"),
            "v": verdict,
            "o": list(kinds).index(kind),
        }
        for row, kind, value, verdict in bars
    ]
    ends = [
        {"r": row, "y": totals[row], "end": marked(number(totals[row]), verdicts[row])}
        for row in ranked
    ]
    rows = {"field": "r", "type": "nominal", "sort": ranked, "title": None,
            "axis": {"domain": False, "ticks": False}}  # fmt: skip
    scale = {"domain": list(kinds), "range": list(kinds.values())}
    room = {"domain": [0, max(totals.values(), default=1) * 1.3 or 1], "nice": False}
    return spec(
        values,
        22 * len(ranked) + 4,
        encoding={"y": rows},
        layer=[
            {
                "mark": {"type": "bar", "stroke": "var(--paper)", "strokeWidth": 1},
                "encoding": {
                    "x": axis("y", unit, stack="zero", scale=room, axis={"tickCount": 5}),
                    "color": {"field": "k", "type": "nominal", "scale": scale, "legend": None},
                    "order": {"field": "o", "type": "quantitative"},
                    "opacity": {"condition": {"test": "datum.v != 'valid'", "value": 0.35},
                                "value": 1},
                    "tooltip": tooltip(("r", "architecture"), ("k", "what"), ("y", unit),
                                       ("v", "verdict")),
                },
            },
            {
                "data": {"values": ends},
                "mark": {"type": "text", "align": "left", "dx": 4, "color": "var(--ink)"},
                "encoding": {"x": axis("y", unit), "text": {"field": "end"}},
            },
        ],
    )  # fmt: skip
