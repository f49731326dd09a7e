"""`lab experiment`: the claims of the notes, run and judged."""

import sys
from pathlib import Path

import click
from rich.console import Console

from lab.chain.rundir import LabError

_INTERRUPTED = 130

_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("names", metavar="ID…|all", nargs=-1, required=True)
@click.option("--json", "json_file", type=_file, metavar="FILE", help="Write verdicts and numbers.")
@click.option("--html", "html_file", type=_file, metavar="FILE", help="Write the book, a page.")
def experiment(names: tuple[str, ...], json_file: Path | None, html_file: Path | None) -> None:
    """Run what the notes claim about Linux: confirmed, refuted, or not measured here.

    An ID is a claim's, as K1, or a group's, as E10-E13. Each experiment runs in a process of its
    own, bounded in time, memory and descriptors. Exit code 1: one of them broke; a claim that does
    not hold is a result.
    """
    for file in (json_file, html_file):
        if file and not file.parent.is_dir():  # said now, not after a minute
            raise LabError(f"{file}: there is no folder {file.parent}; create it first")
    from experiments import book, show  # what draws pages takes a moment to import
    from experiments.catalogue import UnknownClaim, choose

    try:
        chosen = choose(names)
    except UnknownClaim as error:
        raise LabError(str(error)) from None
    record, complete = show.run(Console(), chosen)
    if json_file:
        json_file.write_text(record.to_json(), encoding="utf-8")
    if html_file:
        book.write(record, html_file)
    if not complete:
        sys.exit(_INTERRUPTED)
    sys.exit(any(entry.outcome.failed for entry in record.entries))
