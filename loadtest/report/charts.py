"""What a figure of the page is: one or more views, of which the reader picks one, and a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.compare.result import Result


@dataclass(frozen=True, slots=True)
class View:
    """One of a chart's pictures, and its name in the list to pick from."""

    label: str
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A chart's figures; the first column is a heading. A figure not valid says its verdict."""

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
    picked: bool = True
    """Whether its colours are those of the picked architectures."""
    legend: list[tuple[str, str]] = field(default_factory=list)
    """CSS colour and name of what is stacked."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; one without charts says why."""

    key: str
    title: str
    text: str
    charts: list[Chart]
    sentences: list[str] = field(default_factory=list)
    absent: str = ""
    """Why there is nothing."""
    short: str = ""
    """The title in the page's navigation, where it is long."""


def most(result: Result, views: Sequence[View]) -> int:
    """Return which of the views, named by `words.place`, has the first route's most connections."""
    route = result.cells[0].route if result.cells else ""
    found = [at for at, view in enumerate(views) if view.label.startswith(f"{route} · ")]
    return max(found, default=0)
