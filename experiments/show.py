"""Print each verdict in the terminal as it arrives, with its deciding number."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from experiments import running
from experiments.frame import CONFIRMED, NOT_MEASURED, REFUTED, Experiment, Finding
from experiments.record import Entry, Record, begin, machine

MARKS: Final = {CONFIRMED: "✓", REFUTED: "✗", NOT_MEASURED: "–"}
_STYLES: Final = {CONFIRMED: "green", REFUTED: "bold red", NOT_MEASURED: "yellow"}


def run(console: Console, experiments: Sequence[Experiment]) -> tuple[Record, bool]:
    """Run experiments in turn and print findings; after Ctrl-C return those done, and False."""
    started, found = begin(), machine()
    where = f"{found['processor']}, Linux {found['kernel']}, Python {found['python']}"
    console.print(f"[bold]chainlab experiments[/] on {where}\n", highlight=False)
    entries: list[Entry] = []
    complete = True
    with console.status("") as status:
        for at, experiment in enumerate(experiments, 1):
            status.update(f"{at} of {len(experiments)}: {experiment.name}, {experiment.title}")
            try:
                entries.append(Entry(experiment, running.run(experiment)))
            except KeyboardInterrupt:
                complete = False
                break
            console.print(_findings(entries[-1].outcome.findings))
    record = Record(started, found, entries)
    console.print(_summary(record), highlight=False)
    return record, complete


def _findings(findings: Iterable[Finding]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=4, style="bold")
    table.add_column(width=len(NOT_MEASURED) + 2)
    table.add_column(ratio=1, overflow="fold")
    for each in findings:
        verdict = Text(f"{MARKS[each.verdict]} {each.verdict}", _STYLES[each.verdict])
        part = f"{each.part}: " if each.part else ""
        table.add_row(each.claim, verdict, Text(part + each.key))
        if each.scope:
            table.add_row("", "", Padding(Text(each.scope, "dim"), (0, 0, 0, 2)))
    return table


def _summary(record: Record) -> str:
    counted = ", ".join(f"{record.count(verdict)} {verdict}" for verdict in MARKS)
    crashed = sum(entry.outcome.failed for entry in record.entries)
    also = f"; [red]{crashed} crashed[/]" if crashed else ""
    return f"\n{counted}{also}, in {record.seconds:.0f} s"
