"""What a figure is: one or more views, of which the reader picks one, and the same as a table."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class View:
    """One of a chart's pictures, and its name in the list to pick from."""

    label: str
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A chart's figures; the first column is a heading."""

    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure."""

    key: str
    """Its id in the page."""
    title: str
    text: str
    """What there is to see and how to read it."""
    views: list[View]
    table: Table
    first: int = 0
    """The view that is shown at first."""
    picked: bool = False
    """Whether its colours are those of what the reader picked; the page's script then has them."""
    legend: list[tuple[str, str]] = field(default_factory=list)
    """CSS colour and name of what is stacked."""
