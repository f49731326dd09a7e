"""What a picked architecture looks like in a figure, and curves with a line for each.

A row that has an architecture in `a` gets its `slot` from the page's script: the place among the
picked, which fixes colour, dash and marker, or -1, which is grey.
"""

from typing import Any, Final

from chainlab.pages.vega import COLOURS, SHAPES

SLOTS: Final = len(COLOURS)
"""Architectures in colour at one time."""

DASHES: Final = [[1, 0], [7, 3], [2, 3], [9, 3, 2, 3], [4, 4], [12, 3], [1, 4], [6, 2, 2, 2, 2, 2]]


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
