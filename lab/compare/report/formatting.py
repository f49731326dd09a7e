"""Cells, intervals and verdicts in words, and the verdicts' symbols."""

import re
from collections.abc import Iterable
from typing import Final

from markupsafe import Markup, escape

from chainlab.pages.formatting import number, plural
from lab.compare.drive.levels import level_of
from lab.compare.result import Cell, Interval, Standing

SYMBOLS: Final = {
    "valid": ("✓", "every rule held"),
    "noisy": ("≈", "its interval is too wide to compare"),
    "generator-bound": ("▲", "the generator was the limit: a lower bound at best"),
    "errors": ("✗", "some requests got no answer"),
    "wrong-answers": ("✗", "some answers were wrong"),
    "unavailable": ("–", "not measured"),
}


def span(interval: Interval) -> str:
    """Return an interval's bounds: 74,000–76,200."""
    low, high = number(interval.low), number(interval.high)
    return low if low == high else f"{low}–{high}"


def marked(text: str, verdict: str) -> str:
    """Return a figure with its verdict unless that is valid: `1,200 ≈ noisy`."""
    return text if verdict == "valid" else f"{text} {SYMBOLS[verdict][0]} {verdict}"


def place(one: Cell | Standing) -> str:
    """Return route, connections and an open loop's load: `hello · 64 connections`."""
    text = f"{one.route} · {plural(one.connections, 'connection')}"
    return f"{text} · {load(one)}" if load(one) else text


def load(one: Cell | Standing) -> str:
    """Return an open loop's load, `1,200/s intended` or `50 % of its own peak`; "" if closed."""
    level = level_of(one)
    if level.of_peak is not None:
        return str(level)
    return "" if level.rate is None else f"{number(level.rate)}/s intended"


def with_names(text: str, names: Iterable[str]) -> Markup:
    """Return a sentence as HTML with names in bold; page.css does not break bold at hyphens."""
    longest = sorted(names, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, longest))})(?![\w-])")
    pieces = pattern.split(text) if longest else [text]  # pieces at odd positions are names
    return Markup("").join(
        Markup("<b>{}</b>").format(piece) if position % 2 else escape(piece)
        for position, piece in enumerate(pieces)
    )
