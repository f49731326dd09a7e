"""Pieces of Vega-Lite specifications that the figures share.

Colours are CSS variables (page.css has them for light and dark): --c0 … --c7 are Okabe and Ito's.
A row that has an architecture in `a` gets its `slot` from the page's script: the place among the
picked, which fixes colour, dash and marker, or -1, which is grey.
"""

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any, Final

SLOTS: Final = 8
"""Architectures in colour at one time: as many as there are colours that all can tell apart."""

COLOURS: Final = [f"var(--c{slot})" for slot in range(SLOTS)]
DASHES: Final = [[1, 0], [7, 3], [2, 3], [9, 3, 2, 3], [4, 4], [12, 3], [1, 4], [6, 2, 2, 2, 2, 2]]
SHAPES: Final = [
    "circle", "square", "triangle-up", "diamond",
    "triangle-down", "triangle-right", "triangle-left", "stroke",
]  # fmt: skip

CONFIG: Final[dict[str, Any]] = {
    "background": "transparent",
    "font": "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif",  # as page.css
    "aria": False,  # the figure has a label and a table: not every mark needs one
    "view": {"stroke": None},
    "axis": {
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "gridColor": "var(--grid)",
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 130,
    },
}


def spec(rows: Sequence[dict[str, Any]], height: Any, **parts: Any) -> dict[str, Any]:
    """Return a Vega-Lite specification as wide as its place."""
    return {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"name": "rows", "values": list(rows)},
        **parts,
    }


def by_slot(channel: str) -> dict[str, Any]:
    """Return how a picked architecture's colour, dash or marker is found."""
    ranges = {
        "color": ["var(--faint)", *COLOURS],
        "strokeDash": [[1, 0], *DASHES],
        "shape": ["circle", *SHAPES],
    }
    scale = {"domain": [-1, *range(SLOTS)], "range": ranges[channel]}
    return {"field": "slot", "type": "nominal", "scale": scale, "legend": None}


def curves(told: list[dict[str, Any]], which: str = "true") -> list[dict[str, Any]]:
    """Return lines, their markers, and a cross for what is not valid.

    Rows have an architecture `a`, a verdict `v`; `which` is true for those that get a marker.
    """
    colour, grey = by_slot("color"), "datum.slot < 0"
    dim = {"condition": {"test": grey, "value": 0.7}, "value": 1}
    line = {
        "detail": [{"field": "a"}, {"field": "slot"}],
        "color": colour,
        "strokeDash": by_slot("strokeDash"),
        "strokeWidth": {"condition": {"test": grey, "value": 1}, "value": 2},
        "opacity": dim,
    }
    marker = {
        "color": colour,
        "shape": by_slot("shape"),
        "size": {"condition": {"test": grey, "value": 16}, "value": 64},
        "opacity": dim,
        "tooltip": told,
    }
    cross = {
        "color": colour,
        "size": {"condition": {"test": grey, "value": 9}, "value": 15},
        "tooltip": told,
    }
    return [
        {"mark": {"type": "line", "strokeJoin": "round"}, "encoding": line},
        {
            "mark": {"type": "point", "filled": True},
            "transform": [{"filter": f"{which} && datum.v == 'valid'"}],
            "encoding": marker,
        },
        {
            "mark": {"type": "text", "text": "✕", "fontWeight": "bold"},
            "transform": [{"filter": f"{which} && datum.v != 'valid'"}],
            "encoding": cross,
        },
    ]


def axis(name: str, title: str, **more: Any) -> dict[str, Any]:
    """Return a quantitative axis."""
    return {"field": name, "type": "quantitative", "title": title, **more}


def from_zero(values: Sequence[float]) -> dict[str, Any]:
    """Return a linear scale with all the values on it.

    Scales are told their ends, here and elsewhere: Vega warns where a layer has no rows to find
    them in, as that of the valid ones where nothing is valid.
    """
    return {"domain": [0, max(values, default=0) or 1], "nice": True}


def log_axis(name: str, title: str, values: Sequence[float]) -> dict[str, Any]:
    """Return a logarithmic axis that ends where the values do, with lines at 1, 2, 5 or at 1."""
    low, high = min(values, default=1), max(values, default=1)
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks = [float(f"{step}e{power}") for power in powers for step in steps]
    scale = {"type": "log", "domain": [low * 0.8, high * 1.25], "nice": False}
    within = [tick for tick in ticks if low * 0.8 <= tick <= high * 1.25]
    return axis(name, title, scale=scale, axis={"values": within, "format": "~r"})


def tooltip(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    """Return what a pointer shows: (field, title)."""
    return [{"field": name, "type": "nominal", "title": title} for name, title in pairs]
