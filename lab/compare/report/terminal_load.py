"""Latency against load in the terminal: each architecture's p99 at the shares of its own peak.

Read this table along its rows; the ranking at each share has its own table.
"""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lab.compare.drive.levels import CLOSED, SHARES, Level, level_of, percent
from lab.compare.result import Cell, Result

_SHARES = [Level(of_peak=share) for share in SHARES]


def load_tables(result: Result) -> list[Table]:
    """Return a table per route and number of connections that has shares of a peak."""
    found: dict[tuple[str, int], dict[str, dict[Level, Cell]]] = {}
    for cell in result.cells:
        here = found.setdefault((cell.route, cell.connections), {})
        here.setdefault(cell.architecture, {})[level_of(cell)] = cell
    return [
        _table(f"{result.manifest.paths.get(route, route)} × {connections}", rows)
        for (route, connections), rows in found.items()
        if any(share in levels for levels in rows.values() for share in _SHARES)
    ]


def _table(where: str, rows: dict[str, dict[Level, Cell]]) -> Table:
    title = f"{where}: p99 ms at shares of its own peak"
    table = Table(box=SIMPLE_HEAD, title=title, padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    for head in ("peak/s", *map(percent, SHARES)):
        table.add_column(head, justify="right")
    for name, levels in rows.items():
        p99 = [_figure(levels.get(share), "p99") for share in _SHARES]
        table.add_row(name, _figure(levels.get(CLOSED), "peak"), *p99)
    return table


def _figure(cell: Cell | None, what: str) -> str:
    """Return a figure, with its verdict unless that is valid."""
    if cell is None or cell.summary is None:
        return "–"
    one = cell.summary
    text = f"{one.throughput.median:,.0f}" if what == "peak" else f"{one.p99_ms.median:.2f}"
    return text if cell.verdict == "valid" else f"{text} {cell.verdict}"
