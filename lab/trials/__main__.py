"""`python -m lab.trials`: run the trials, print what held."""

import json
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import click
from rich.box import ROUNDED
from rich.console import Console
from rich.table import Table

from lab.trials.catalogue import TRIALS, find
from lab.trials.trial import Result, Settings, Trial

_WIDTH = 140  # where the output is no terminal


def _chosen(_ctx: click.Context, _param: click.Parameter, names: tuple[str, ...]) -> list[Trial]:
    for name in names:
        if not find(name):
            known = ", ".join(trial.name for trial in TRIALS)
            raise click.BadParameter(f"no trial is called {name!r}; the trials are {known}")
    return [trial for name in names for trial in find(name)] or list(TRIALS)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--only",
    "trials",
    multiple=True,
    callback=_chosen,
    metavar="NAME",
    help="Run this trial, or this group of trials (resources, mutations); repeatable.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=60.0,
    metavar="N",
    help="Length of the longest phase of load; counts and shorter phases scale with it.",
)
@click.option("--seed", type=int, metavar="N", help="Seed of the mutations; random by default.")
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Keep logs and configurations of the programs in this new folder.",
)
@click.option(
    "--json",
    "target",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write the results as JSON, too.",
)
def main(
    trials: list[Trial],
    seconds: float,
    seed: int | None,
    logs: Path | None,
    target: Path | None,
) -> None:
    """Put gateway and worker through ordinary life, and check what has to hold.

    Exit code 1 if something did not hold. A trial that cannot run here is skipped with the reason.
    """
    seed = random.randrange(1 << 32) if seed is None else seed
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(
        f"trials: {len(trials)}, seed {seed} (repeat with --seed {seed}); {os.cpu_count()} cores,"
        f" load average {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory(prefix="chainlab-trials-", ignore_cleanup_errors=True) as name:
        if logs is not None:
            logs.mkdir(parents=True)
        folder = logs.resolve() if logs is not None else Path(name)
        results = [_run(trial, folder, seconds, seed, console) for trial in trials]
    console.print(_table(results))
    if target is not None:
        told: dict[str, Any] = {"seed": seed, "seconds": seconds, "cores": os.cpu_count()}
        told["trials"] = [result.as_json() for result in results]
        target.write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(any(not result.verdict.holds for result in results))


def _run(trial: Trial, folder: Path, seconds: float, seed: int, console: Console) -> Result:
    own = folder / trial.name.replace("/", "-")
    own.mkdir()
    result, begun = Result(trial), time.monotonic()
    try:
        trial.undergo(Settings(own, seconds, seed), result.verdict)
    except Exception as error:  # noqa: BLE001 - the other trials run all the same
        console.print(traceback.format_exc(), markup=False)
        result.verdict.require(False, f"the trial failed: {error}")
    result.seconds = time.monotonic() - begun
    console.print(f"  {trial.name}: {_outcome(result)} ({result.seconds:.0f} s)")
    return result


def _outcome(result: Result) -> str:
    if result.verdict.skipped:
        return "skipped"
    return "held" if result.verdict.holds else "DID NOT HOLD"


def _table(results: list[Result]) -> Table:
    table = Table(box=ROUNDED, show_lines=True)
    for head in ("trial", "sent", "had to hold", "measured", "held"):
        table.add_column(head, overflow="fold", no_wrap=head == "trial")
    for result in results:
        trial, verdict = result.trial, result.verdict
        marked = [f"{'✗ ' if text in verdict.broken else ''}{text}" for text in verdict.measured]
        measured = "\n".join(marked) if not verdict.skipped else f"skipped: {verdict.skipped}"
        held = "–" if verdict.skipped else "yes" if verdict.holds else "NO"
        table.add_row(trial.name, trial.sent, trial.to_hold, measured, held)
    return table


if __name__ == "__main__":
    main()
