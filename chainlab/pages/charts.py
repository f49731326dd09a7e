"""Data types of a figure: one or more selectable views, and a table with the same numbers."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class View:
    """One drawing of a chart, and its label in the selection list."""

    label: str
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A chart's numbers; the first column has the row headings."""

    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure on a page."""

    key: str
    """Its HTML id on the page."""
    title: str
    text: str
    """What it shows and how to read it."""
    views: list[View]
    table: Table
    first: int = 0
    """Index of the view shown initially."""
    picked: bool = False
    """Whether its colours mark the reader's selection; if so, the page's script sets them."""
    legend: list[tuple[str, str]] = field(default_factory=list)
    """CSS colour and name of each stacked part."""
