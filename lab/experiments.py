"""`lab experiment`: measures the claims of the notes and judges them."""

import sys
from pathlib import Path

import click
from rich.console import Console

from lab.chain.rundir import LabError

_INTERRUPTED = 130

_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("names", metavar="ID…|all", nargs=-1, required=True)
@click.option(
    "--json", "json_file", type=_file, metavar="FILE", help="Write verdicts and numbers here."
)
@click.option("--html", "html_file", type=_file, metavar="FILE", help="Write an HTML report here.")
def experiment(names: tuple[str, ...], json_file: Path | None, html_file: Path | None) -> None:
    """Test the claims of the notes about Linux: confirmed, refuted, or not measured here.

    ID is a claim (K1) or a group of claims (E10-E13). Each experiment runs in its own process,
    with limits on time, memory and descriptors. The exit code is 1 if an experiment failed to run;
    a refuted claim is not a failure.
    """
    for file in (json_file, html_file):
        if file and not file.parent.is_dir():  # fail now, not after a minute of measuring
            raise LabError(f"{file}: there is no folder {file.parent}; create it first")
    from experiments import book, show  # slow to import: they draw pages
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
