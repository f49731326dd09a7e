"""`lab standings`: whether several runs of a comparison agree on the order."""

import sys
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lab.chain.rundir import LabError
from lab.compare.commands import read_result
from lab.compare.drive.levels import CLOSED
from lab.compare.judge.rank_changes import RankChange, Repeats, repeats

console = Console()


@click.command()
@click.argument("files", metavar="FILE FILE…", nargs=-1, required=True,
                type=click.Path(dir_okay=False, path_type=Path))  # fmt: skip
def standings(files: tuple[Path, ...]) -> None:
    """Check whether results of the same comparison agree on the order of architectures.

    A run that gives two architectures the same place does not tell them apart. Exit code 1: the
    files contradict each other about the order of a pair.
    """
    if len(files) < 2:
        raise LabError("one result has nothing to agree with; name two files or more")
    found = repeats([read_result(file) for file in files])
    if not found.pairs:
        raise LabError("no two files tell the same pair apart; name files that share architectures")
    show(console, found)
    sys.exit(bool(found.turned))


def show(console: Console, found: Repeats) -> None:
    """Print how many pairs the runs tell apart, and the pairs on whose order they disagree."""
    pairs = f"{found.pairs:,} pair{'s' if found.pairs > 1 else ''}"
    console.print(
        f"{found.runs} runs tell {pairs} apart; "
        f"{len(found.turned) or 'none'} of them changed the order",
        style="red" if found.turned else "green",
        highlight=False,
    )
    if not found.turned:
        return
    table = Table(box=SIMPLE_HEAD)
    for head in ("where", "", "ahead of", "runs", "behind in"):
        table.add_column(head, no_wrap=True)
    for each in found.turned:
        pair = each.first, each.second
        table.add_row(_where(each), *pair, str(each.ahead), str(each.behind))
    console.print(table)


def _where(each: RankChange) -> str:
    route, connections, level, metric = each.where
    load = "" if level == CLOSED else f", {level}"
    return f"{route} × {connections}{load}, by {metric}"
