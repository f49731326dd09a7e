"""Shared pieces of Vega-Lite specifications.

Colours are CSS variables, which base.css defines for light and dark. --c0 … --c7 are the Okabe-Ito
palette.
"""

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any, Final

COLOURS: Final = [f"var(--c{slot})" for slot in range(8)]
"""All colours of the palette: as many as colour-blind readers can tell apart."""

SHAPES: Final = [
    "circle", "square", "triangle-up", "diamond",
    "triangle-down", "triangle-right", "triangle-left", "stroke",
]  # fmt: skip
"""Line markers, in the order of COLOURS."""

CONFIG: Final[dict[str, Any]] = {
    "background": "transparent",
    "font": "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif",  # as in base.css
    "aria": False,  # the figure has a label and a table; labels for each mark are noise
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
    """Return a Vega-Lite specification that fills its container's width."""
    return {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"name": "rows", "values": list(rows)},
        **parts,
    }


def axis(name: str, title: str, **more: Any) -> dict[str, Any]:
    """Return a quantitative axis."""
    return {"field": name, "type": "quantitative", "title": title, **more}


def from_zero(values: Sequence[float]) -> dict[str, Any]:
    """Return a linear scale from 0 that covers all values.

    This and other scales have an explicit domain because Vega warns if it must infer one from a
    layer without rows (the layer of valid cells, if none is valid).
    """
    return {"domain": [0, max(values, default=0) or 1], "nice": True}


def log_axis(name: str, title: str, values: Sequence[float]) -> dict[str, Any]:
    """Return a logarithmic axis that fits the values, with ticks at 1, 2, 5 (long axes: 1 only)."""
    low, high = min(values, default=1), max(values, default=1)
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks = [float(f"{step}e{power}") for power in powers for step in steps]
    scale = {"type": "log", "domain": [low * 0.8, high * 1.25], "nice": False}
    within = [tick for tick in ticks if low * 0.8 <= tick <= high * 1.25]
    return axis(name, title, scale=scale, axis={"values": within, "format": "~r"})


def tooltip(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    """Return a tooltip specification from (field, title) pairs."""
    return [{"field": name, "type": "nominal", "title": title} for name, title in pairs]
