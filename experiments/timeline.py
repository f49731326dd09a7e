"""Timeline chart: a lane per row, time to the right, a coloured bar per activity."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from chainlab.pages.charts import Chart, Table, View
from chainlab.pages.vega import axis, spec, tooltip
from experiments.drawing import NAMES

_LANE: Final = 46  # pixels


class Span(NamedTuple):
    """One activity in a lane."""

    lane: str
    kind: str
    begin: float
    end: float


class Window(NamedTuple):
    """A view: which part of the time it shows, and in which unit."""

    label: str
    begin: float
    end: float
    scale: float
    """How many units of the spans make one unit of the window."""
    axis: str


def timeline(
    key: str, title: str, text: str, spans: Sequence[Span], kinds: Mapping[str, str],
    windows: Sequence[Window], phases: tuple[str, str], table: Table,
) -> Chart:  # fmt: skip
    """Return the chart; `kinds` maps names to CSS colours.

    A dashed line at 0 separates two phases, labelled on either side.
    """
    views = [View(each.label, _spec(spans, kinds, each, phases)) for each in windows]
    legend = [(colour, kind) for kind, colour in kinds.items()]
    return Chart(key, title, text, views, table, legend=legend)


def _spec(
    spans: Sequence[Span], kinds: Mapping[str, str], window: Window, phases: tuple[str, str]
) -> dict[str, Any]:
    rows = [
        {
            "l": span.lane,
            "k": span.kind,
            "x": max(span.begin, window.begin) / window.scale,
            "x2": min(span.end, window.end) / window.scale,
            "t": f"{(span.end - span.begin) / window.scale:,.4g}",
        }
        for span in spans
        if span.begin < window.end and span.end > window.begin
    ]
    lanes = list(dict.fromkeys(span.lane for span in spans))
    scale = {"domain": [window.begin / window.scale, window.end / window.scale], "nice": False}
    across = axis("x", window.axis, scale=scale, axis={"tickCount": 8, "grid": True})
    bar = {
        "mark": {"type": "bar", "height": {"band": 0.62}},
        "encoding": {
            "x": across,
            "x2": {"field": "x2"},
            "color": {
                "field": "k",
                "type": "nominal",
                "scale": {"domain": list(kinds), "range": list(kinds.values())},
                "legend": None,
            },
            "tooltip": tooltip(("l", "model"), ("k", "what"), ("t", window.axis.split()[0])),
        },
    }
    rule = {
        "data": {"values": [{"x": 0}]},
        "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1.5, "strokeDash": [4, 3]},
        "encoding": {"x": axis("x", window.axis), "y": {"value": 0}, "y2": {"value": "height"}},
    }
    lane = {"field": "l", "type": "nominal", "sort": lanes, "title": None,
            "scale": {"domain": lanes}, "axis": NAMES}  # fmt: skip
    bar["encoding"]["y"] = lane  # type: ignore[index]
    words = [_word(phases[0], "right", window), _word(phases[1], "left", window)]
    return spec(rows, _LANE * len(lanes), layer=[bar, rule, *words])


def _word(text: str, align: str, window: Window) -> dict[str, Any]:
    """Label the phase on one side of the line, above the lanes."""
    return {
        "data": {"values": [{"x": 0}]},
        "mark": {"type": "text", "text": text, "align": align, "dx": -6 if align == "right" else 6,
                 "fontSize": 12, "color": "var(--soft)"},
        "encoding": {"x": axis("x", window.axis), "y": {"value": -8}},
    }  # fmt: skip
