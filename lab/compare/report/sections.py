"""The parts of the page."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chainlab.pages.charts import Chart, View
from lab.compare.result import Result


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; without charts it says why."""

    key: str
    title: str
    text: str
    charts: list[Chart]
    sentences: list[str] = field(default_factory=list)
    absent: str = ""
    """Why there are no charts."""
    short: str = ""
    """The title in the page's navigation, if `title` is too long."""


def most(result: Result, views: Sequence[View]) -> int:
    """Return the index of the view with the first route's most connections.

    The views are sorted, and labelled by `formatting.place`.
    """
    route = result.cells[0].route if result.cells else ""
    found = [at for at, view in enumerate(views) if view.label.startswith(f"{route} · ")]
    return max(found, default=0)
