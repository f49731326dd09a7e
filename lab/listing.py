"""`lab list`: every front and back end, as a table or as JSON, and what this machine lacks.

The table groups architectures by family, with one column per property in which they differ. The
reasons why parts cannot run here follow it. `lab explain ID` and `--json` have the details.
"""

from collections.abc import Iterable
from dataclasses import fields
from itertools import groupby
from typing import Any, Final, get_args

from rich.console import Console, Group
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from lab.chain.backends import BACKENDS, Backend
from lab.chain.fronts import FRONTS, Front
from servers.common.spec import Family, Spec

Row = dict[str, Any]

_FAMILIES: Final = get_args(Family)
_DESCRIBED: Final = [f.name for f in fields(Spec) if f.name not in ("target", "probe")]
"""The fields of a Spec that describe an architecture; the others say how to run it."""

_LEGEND: Final = """
→ speaks FastCGI; the others speak HTTP. N is --workers.
lab explain NAME describes one; --json prints everything."""

WIDTH: Final = 100
"""Maximum columns, however wide the terminal."""


def rows() -> list[Row]:
    """Return every front and back end with all its properties, as JSON types."""
    fronts = [_front_row(front) for front in FRONTS.values()]
    return fronts + [_backend_row(backend) for backend in BACKENDS.values()]


def _front_row(front: Front) -> Row:
    return {
        "place": "front",
        "name": front.name,
        "title": front.title,
        "family": "multiplexing",
        "protocol": "http",
        "processes": "a master and one child",
        "threads": "one",
        "multiplexer": "epoll",
        "mode": front.mode,
        "limits": [],
        "source": front.source,
        "unavailable": front.unavailable(),
    }


def _backend_row(backend: Backend) -> Row:
    described = {key: getattr(backend.spec, key) for key in _DESCRIBED}
    return {"place": "backend", **described, "unavailable": backend.unavailable()}


def show(console: Console, listed: Iterable[Row]) -> None:
    """Print the table and what this machine lacks, at most 100 columns wide."""
    listed = sorted(listed, key=_group)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column(_columns("what it is: processes", "threads", "waits by"), ratio=1)
    for number, members in groupby(listed, key=_group):
        table.add_row(Text("front" if number < 0 else _FAMILIES[number], style="bold"))
        for row in members:
            table.add_row(_name(row), _what(row))
    width = min(console.width, WIDTH)
    console.print(table, width=width)
    for row in listed:
        if row["unavailable"]:
            name = (f"– {row['name']}", "yellow")
            reason = Text.assemble(name, f" cannot run here: {row['unavailable']}")
            console.print(reason, width=width)
    console.print(_LEGEND, style="dim", highlight=False, width=width)


def _group(row: Row) -> int:
    """Sort key: fronts first, then the families in the order of the notes."""
    return -1 if row["place"] == "front" else _FAMILIES.index(row["family"])


def _name(row: Row) -> Text:
    mark = ("– ", "yellow") if row["unavailable"] else "  "
    return Text.assemble(mark, row["name"], "→" if row["protocol"] == "fastcgi" else "")


def _what(row: Row) -> Group:
    waits = ", ".join(filter(None, (row["multiplexer"], row["mode"]))) or "blocking calls"
    columns = _columns(row["processes"], row["threads"], waits)
    return Group(Text(row["title"]), Styled(columns, "dim"))


def _columns(*cells: str) -> Table:
    """Return a grid with equal columns, so that they line up from row to row."""
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for _ in cells:
        grid.add_column(ratio=1)
    grid.add_row(*map(Text, cells))
    return grid
