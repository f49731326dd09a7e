"""`lab tour`: the command line."""

import sys

import click
from rich.console import Console
from rich.table import Table

from lab.tour.runner import Guide, Quit
from lab.tour.stage import Stage
from lab.tour.stages import choose
from loadtest.interrupts import ignore_interrupts

_INTERRUPTED = 130


@click.command()
@click.argument("names", metavar="[STAGE…]", nargs=-1)
@click.option("--list", "lists", is_flag=True, help="List the stages and what they lack here.")
def tour(names: tuple[str, ...], lists: bool) -> None:
    """Tour the stages of the notes, S1 to S11: predict what happens, then see it measured.

    Each step describes a situation and asks one question. Then it makes the situation happen, with
    real servers and real faults, and measures the answer. Without a terminal it asks nothing: it
    runs every step and prints the measured answers.
    """
    chosen, console = choose(names), Console()
    if lists:
        console.print(_listed(chosen))
        return
    guide = Guide(console, asks=sys.stdin.isatty() and console.is_terminal)
    try:
        for stage in chosen:
            guide.stage(stage)
    except Quit:
        pass
    except KeyboardInterrupt:
        ignore_interrupts()
        sys.exit(_INTERRUPTED)
    guide.end()


def _listed(stages: list[Stage]) -> Table:
    table = Table("stage", "", "steps", "", box=None, pad_edge=False)
    for stage in stages:
        reasons = dict.fromkeys(reason for step in stage.steps if (reason := step.unavailable()))
        lacks = f"[yellow]not complete here: {'; '.join(reasons)}" if reasons else ""
        table.add_row(stage.name, stage.title, str(len(stage.steps)), lacks)
    return table
