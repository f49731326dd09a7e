"""Colour, dash and marker of a picked architecture, and curves with a line per architecture.

The page's script gives each row with an architecture `a` a `slot`: its place among the picked ones,
which sets colour, dash and marker, or -1 for grey.
"""

from typing import Any, Final

from chainlab.pages.vega import COLOURS, SHAPES

SLOTS: Final = len(COLOURS)
"""The number of architectures in colour at a time."""

# page.js has the same dashes.
DASHES: Final = [[1, 0], [7, 3], [2, 3], [9, 3, 2, 3], [4, 4], [12, 3], [1, 4], [6, 2, 2, 2, 2, 2]]


def by_slot(channel: str) -> dict[str, Any]:
    """Return the encoding of a picked architecture's "color", "strokeDash" or "shape"."""
    ranges = {
        "color": ["var(--faint)", *COLOURS],
        "strokeDash": [[1, 0], *DASHES],
        "shape": ["circle", *SHAPES],
    }
    scale = {"domain": [-1, *range(SLOTS)], "range": ranges[channel]}
    return {"field": "slot", "type": "nominal", "scale": scale, "legend": None}


def curves(tips: list[dict[str, Any]], which: str = "true") -> list[dict[str, Any]]:
    """Return lines with markers, and crosses in place of markers for figures that are not valid.

    Rows have an architecture `a` and a verdict `v`; `which` is a Vega expression that is true for
    rows that get a marker. `tips` is the tooltip.
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
        "tooltip": tips,
    }
    cross = {
        "color": colour,
        "size": {"condition": {"test": grey, "value": 9}, "value": 15},
        "tooltip": tips,
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
