"""Ladder chart: a row per step, a column per end, and in each cell the end's state."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from chainlab.pages.charts import Chart, Table, View
from chainlab.pages.vega import COLOURS, spec, tooltip
from experiments.drawing import NAMES, wrapped

_ROW: Final = 56  # pixels


class Rung(NamedTuple):
    """A step, and the state of each end after it, in column order."""

    what: str
    states: Sequence[str]


def ladder(
    key: str, title: str, text: str, lives: Mapping[str, Sequence[Rung]],
    columns: Sequence[str], groups: Mapping[str, str],
) -> Chart:  # fmt: skip
    """Return a chart with a view per life; `groups` assigns each state a colour group."""
    kinds = list(dict.fromkeys(groups.values()))
    views = [View(name, _spec(rungs, columns, groups, kinds)) for name, rungs in lives.items()]
    body = [
        [f"{name}: {rung.what}", *rung.states] for name, rungs in lives.items() for rung in rungs
    ]
    legend = list(zip(COLOURS, kinds, strict=False))
    return Chart(key, title, text, views, Table(["", *columns], body), legend=legend)


def _spec(
    rungs: Sequence[Rung], columns: Sequence[str], groups: Mapping[str, str], kinds: Sequence[str]
) -> dict[str, Any]:
    named = [wrapped(f"{number}. {rung.what}") for number, rung in enumerate(rungs, 1)]
    rows = [
        {"r": name, "c": column, "s": state, "k": groups[state]}
        for name, rung in zip(named, rungs, strict=True)
        for column, state in zip(columns, rung.states, strict=True)
    ]
    nominal = {"type": "nominal", "title": None}
    encoding = {
        "y": {"field": "r", **nominal, "sort": named, "axis": NAMES},
        "x": {"field": "c", **nominal, "sort": list(columns),
              "axis": {**NAMES, "orient": "top", "labelAngle": 0}},
        "tooltip": tooltip(("r", "step"), ("c", "end"), ("s", "state")),
    }  # fmt: skip
    scale = {"domain": list(kinds), "range": COLOURS[: len(kinds)]}
    colour = {"field": "k", "type": "nominal", "scale": scale, "legend": None}
    box = {"type": "rect", "opacity": 0.3, "stroke": "var(--paper)", "strokeWidth": 2}
    layer = [
        {"mark": box, "encoding": {"color": colour}},
        {"mark": {"type": "text", "fontSize": 11, "color": "var(--ink)"},
         "encoding": {"text": {"field": "s"}}},
    ]  # fmt: skip
    return spec(rows, _ROW * len(rungs), encoding=encoding, layer=layer)
