"""Places and verdicts in the terminal: a table per route, number of connections and load.

Every figure is shown with its verdict. Only valid figures have a place; the others follow with what
is wrong. Crossings, notes and the evidence of failed rules come after the tables.
"""

from collections.abc import Callable, Iterable
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.compare.drive.levels import CLOSED, level_of
from lab.compare.judge.diff import Change
from lab.compare.report.terminal_load import load_tables
from lab.compare.result import Cell, Interval, Result, Standing, Summary
from loadtest.manifest import REACHED

_STYLES: Final = {
    "valid": "green", "noisy": "yellow", "generator-bound": "yellow", "errors": "bold red",
    "wrong-answers": "bold red", "unavailable": "dim",
}  # fmt: skip
_TITLES: Final = {"throughput": "by throughput", "p99": "by p99", "cpu": "by CPU"}

Figure = Callable[[Summary], str]
_FIGURES: Final[dict[str, Figure]] = {
    "answers/s": lambda summary: f"{summary.throughput.median:,.0f}",
    "CPU µs": lambda summary: f"{summary.cpu_us.median:.1f}",
    "p99 ms": lambda summary: f"{summary.p99_ms.median:.2f}",
}
_HEADS: Final[dict[str, dict[str, Figure]]] = {
    "throughput": {
        "answers/s": _FIGURES["answers/s"],
        "95 %": lambda summary: _span(summary.throughput, 0),
        "CPU µs": _FIGURES["CPU µs"],
        "p99 ms": _FIGURES["p99 ms"],
    },
    "p99": {
        "p99 ms": _FIGURES["p99 ms"],
        "95 %": lambda summary: _span(summary.p99_ms, 2),
        "answers/s": _FIGURES["answers/s"],
        "CPU µs": _FIGURES["CPU µs"],
    },
}
"""Columns by metric; the ranked figure and its interval come first."""


def show_result(console: Console, result: Result) -> None:
    """Print the tables, the crossings and the evidence."""
    found = result.manifest
    console.print(
        f"[bold]chainlab compare[/] on {found.cores} cores of {found.cpu_model}, "
        f"Linux {found.kernel}, {found.congestion}; {found.cpus}",
        highlight=False,
    )
    if found.images:
        reached = REACHED[found.reached]
        console.print(f"servers in containers, reached by {reached}", highlight=False)
    for standing in result.standings:
        if standing.metric != "cpu":
            console.print(_table(result, standing))
    for table in load_tables(result):
        console.print(table)
    for crossing in result.crossings:
        console.print(f"{crossing.route}: {crossing.sentence}", highlight=False)
    _show_evidence(console, result)
    if not found.complete:
        console.print("interrupted: cells have fewer rounds than wanted", style="yellow")


def _table(result: Result, standing: Standing) -> Table:
    cells = {
        cell.architecture: cell
        for cell in result.cells
        if (cell.route, cell.connections, level_of(cell))
        == (standing.route, standing.connections, level_of(standing))
    }
    path = result.manifest.paths.get(standing.route, standing.route)
    plural = "s" if standing.connections > 1 else ""
    at = "" if level_of(standing) == CLOSED else f"{level_of(standing)}, "
    title = f"{path}, {standing.connections} connection{plural}, {at}{_TITLES[standing.metric]}"
    figures = _HEADS[standing.metric]
    table = Table(box=SIMPLE_HEAD, title=title, padding=(0, 0, 0, 1))
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for head in figures:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict")
    for place in standing.places:
        tie = "=" if len(place.architectures) > 1 else ""
        for name in place.architectures:
            table.add_row(f"{place.place}{tie}", *_row(cells[name], figures))
    for name in _by_rate(standing.unplaced, cells):
        table.add_row("–", *_row(cells[name], figures))
    return table


def _by_rate(names: Iterable[str], cells: dict[str, Cell]) -> list[str]:
    def rate(name: str) -> float:
        summary = cells[name].summary
        return summary.throughput.median if summary else -1.0

    return sorted(names, key=rate, reverse=True)


def _row(cell: Cell, figures: dict[str, Figure]) -> list[Text | str]:
    verdict = Text(cell.verdict, style=_STYLES[cell.verdict])
    for note in cell.notes if cell.verdict != "unavailable" else ():
        if note.startswith(("starved", "still starting", "behind", "by wrk")):
            short = note.partition(":")[0].partition(" (")[0]
            verdict.append(f", {short}", style="yellow")
    if cell.summary is None:
        return [cell.architecture, *("" for _ in figures), verdict]
    return [cell.architecture, *(figure(cell.summary) for figure in figures.values()), verdict]


def _span(one: Interval, digits: int) -> str:
    return f"{one.low:,.{digits}f}–{one.high:,.{digits}f}"


def _show_evidence(console: Console, result: Result) -> None:
    """Print why a serious rule failed, once per architecture and rule: in its first such cell."""
    shown = set()
    for cell in result.cells:
        for check in cell.checks:
            serious = check.name in ("answers", "errors", "available")
            if check.holds or not serious or (cell.architecture, check.name) in shown:
                continue
            shown.add((cell.architecture, check.name))
            where = "" if check.name == "available" else f", {cell.route} × {cell.connections}"
            where += f", {level_of(cell)}" if where and cell.mode == "open" else ""
            style = _STYLES[cell.verdict]
            console.print(
                Text.assemble((f"{cell.architecture}{where}", style), ": ", check.evidence)
            )
    for architecture in result.architectures:
        if architecture.note and not architecture.unavailable:
            console.print(Text(f"{architecture.name}: {architecture.note}", style="dim"))


def show_changes(console: Console, found: list[Change], cells: int) -> None:
    """Print what changed; what got worse comes first."""
    if not found:
        console.print(f"nothing changed beyond the noise, in {cells} cells", style="green")
        return
    table = Table(box=SIMPLE_HEAD, title=f"beyond the noise, in {cells} cells")
    for head in ("", "figure", "before", "after", ""):
        table.add_column(head, no_wrap=True)
    for change in sorted(found, key=lambda change: not change.worse):
        mark = Text("worse", style="bold red") if change.worse else Text("better", style="green")
        table.add_row(change.cell, change.what, change.before, change.after, mark)
    console.print(table)
