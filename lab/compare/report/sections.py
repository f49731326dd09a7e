"""The parts of the page."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chainlab.pages.charts import Chart, View
from lab.compare.result import Result


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
