"""The command lines of `lab compare` and `lab diff`."""

import random
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lab.chain.backends import BACKENDS
from lab.chain.fronts import FRONTS
from lab.chain.rundir import LabError
from lab.compare import settings
from lab.compare.drive import targets
from lab.compare.drive.budget import FULL, QUICK
from lab.compare.drive.levels import SHARES
from lab.compare.drive.session import Session
from lab.compare.drive.targets import STRAIGHT, Target, Where
from lab.compare.judge import diff as differences
from lab.compare.outcome import make_result
from lab.compare.report.terminal import show_changes, show_result
from lab.compare.result import Mode, Result, from_json, to_json
from lab.compare.settings import PRESETS, ROUTES, Settings

console = Console()
_INTERRUPTED = 130

_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("names", metavar="[ID…|all]", nargs=-1)
@click.option("--preset", type=click.Choice(list(PRESETS)), help="A comparison from the notes.")
@click.option("--front", type=click.Choice([*FRONTS, STRAIGHT]), default=STRAIGHT,
              show_default=True, help="Proxy in front of every server. With none, HTTP servers are "
              "reached directly and FastCGI servers through our gateway.")  # fmt: skip
@click.option("--route", metavar="LIST", help=f"From {', '.join(ROUTES)}. [default: hello]")
@click.option("--connections", metavar="LIST",
              help="[default: 1,8,64,512, or fewer if time is short]")  # fmt: skip
@click.option("--mode", type=click.Choice(["closed", "open"]), default="closed",
              show_default=True, help="Open: requests at intended times; see above.")  # fmt: skip
@click.option("--rate", metavar="LIST", help="Open loop: requests per second, equal for all.")
@click.option("--duration", type=click.FloatRange(0.1, 3600), metavar="S",
              help="Seconds per trial. [default: as 20 minutes allow]")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1, 1000), metavar="N", help="[default: 5]")
@click.option(
    "--quick",
    is_flag=True,
    help="Under 3 minutes: openloop only, no system calls, no idle memory.",
)
@click.option("--json", "json_file", type=_file, metavar="FILE", help="Write the result as JSON.")
@click.option("--html", "html_file", type=_file, metavar="FILE", help="Write the report as a page.")
@click.option("--docker", is_flag=True, help="Run the servers in containers.")
@click.option("--from", "from_file", type=_file, metavar="FILE", help="Show a stored result.")
def compare(
    names: tuple[str, ...],
    preset: str | None,
    front: str,
    route: str | None,
    connections: str | None,
    mode: str,
    rate: str | None,
    duration: float | None,
    rounds: int | None,
    quick: bool,
    json_file: Path | None,
    html_file: Path | None,
    docker: bool,
    from_file: Path | None,
) -> None:
    """Compare architectures: interleaved rounds, verified answers, tie groups, verdicts.

    --mode open first finds each architecture's peak in a closed loop. Then it drives each at 50,
    75 and 90 % of its peak, and all at one equal rate: half of the lowest peak. With --rate, it
    uses these rates only; give --rate if lab diff is to compare two files at equal rates.

    Ctrl-C stops early and reports what has been measured.
    """
    for file in (json_file, html_file):
        if file and not file.parent.is_dir():  # fail now, not after twenty minutes
            raise LabError(f"{file}: there is no folder {file.parent}; create it first")
    if from_file:
        if names or preset:
            raise click.UsageError("--from shows a stored result; leave out IDs and --preset")
        deliver(read_result(from_file), json_file, html_file)
        return
    if rate is not None and mode != "open":
        raise click.UsageError("--rate needs an open loop; add --mode open")
    rates = settings.find_rates(rate) if rate is not None else ()
    kind: Mode = "open" if mode == "open" else "closed"
    with _place(front, docker=docker) as where:
        chosen, given = _choose(names, preset, front, route, connections, where)
        able = [target for target in chosen if not target.described.unavailable]
        numbers, rounds, seconds, expected = settings.decide(
            len(able) + 1, given[0], given[1], rounds, duration, quick=quick,
            mode=kind, rates=rates, start=where.seconds_to_start,
        )  # fmt: skip
        plan = Settings(
            routes={name: ROUTES[name] for name in given[0]},
            connections=numbers,
            rounds=rounds,
            duration=seconds,
            expected=expected,
            allowed=max(expected, QUICK if quick else FULL),
            mode=kind,
            rates=rates,
            seed=random.randrange(1_000_000),
            command=shlex.join(["lab", *sys.argv[1:]]),
            quick=quick,
        )
        result = run(console, plan, chosen, where)
        deliver(result, json_file, html_file)
    sys.exit(0 if result.manifest.complete else _INTERRUPTED)


@contextmanager
def _place(front: str, *, docker: bool) -> Iterator[Where]:
    """Yield where the servers run: this machine or containers."""
    if not docker:
        yield targets.HERE
        return
    from lab.compare.drive.containers import Containers  # needs Docker's SDK

    with Containers(front) as containers:
        yield containers


def deliver(result: Result, json_file: Path | None, html_file: Path | None) -> None:
    """Write the requested files and print the tables; the JSON file comes first."""
    if json_file:
        json_file.write_text(to_json(result))
    show_result(console, result)
    if html_file:
        from lab.compare import report

        try:
            report.write(result, html_file)
        except report.TooLarge as error:
            file = json_file or html_file.with_suffix(".json")
            file.write_text(to_json(result))  # do not lose twenty minutes of measuring
            raise LabError(f"{html_file}: {error}; the whole result is in {file}") from None


def _choose(
    names: tuple[str, ...],
    preset: str | None,
    front: str,
    route: str | None,
    numbers: str | None,
    where: Where,
) -> tuple[list[Target], tuple[tuple[str, ...], tuple[int, ...] | None]]:
    """Return the targets, the routes, and the numbers of connections if given."""
    routes: tuple[str, ...] = ("hello",)
    connections = None
    if preset:
        known = PRESETS[preset]
        names, routes, connections = names or known.names, known.routes, known.connections
    if not names:
        raise click.UsageError(
            "name architectures (see lab list) or all, or give --preset or --from"
        )
    routes = settings.find_routes(route) if route else routes
    connections = settings.find_connections(numbers) if numbers else connections
    return targets.choose(list(names), BACKENDS, front, where), (routes, connections)


def run(
    console: Console, plan: Settings, chosen: list[Target], where: Where = targets.HERE
) -> Result:
    """Run a comparison with a progress display; Ctrl-C ends it early and keeps the rounds done."""
    with console.status("getting ready: building changed images; the first build takes minutes"):
        where.prepare(chosen)
    console.print(_announcement(plan, chosen), highlight=False)
    started, begin = time.time(), time.monotonic()
    complete = True
    columns = (BarColumn(20), TextColumn("{task.percentage:3.0f} %"), TimeElapsedColumn(),
               TextColumn("{task.description}"))  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="chainlab-compare-") as folder,
        Progress(*columns, console=console, transient=True) as bar,
    ):
        task = bar.add_task("", total=1.0)

        def watch(what: str, part: float) -> None:
            left = max(0.0, plan.expected * (1 - part))
            bar.update(task, completed=part, description=f"{_minutes(left)} left · {what}")

        baseline = where.baseline(Path(folder))
        session = Session(plan, chosen, baseline, Path(folder), watch=watch)
        try:
            session.run()
        except KeyboardInterrupt:
            complete = False
    seconds = time.monotonic() - begin
    found = make_result(session, plan, chosen, started=started, seconds=seconds, complete=complete)
    return replace(found, manifest=where.describe(found.manifest))


def _announcement(plan: Settings, chosen: list[Target]) -> str:
    able = sum(not target.described.unavailable for target in chosen)
    numbers = ", ".join(map(str, plan.connections))
    loads = f" × {_loads(plan)}" if plan.mode == "open" else ""
    limit = QUICK if plan.quick else FULL
    over = f", more than {_minutes(limit)}: name fewer architectures to save time"
    return (
        f"{able} architectures × {', '.join(plan.routes)} × {numbers} connections{loads}, "
        f"{plan.rounds} rounds of {plan.duration:g} s: about {_minutes(plan.expected)}"
        f"{over if plan.expected > limit else ''}; Ctrl-C keeps the rounds done"
    )


def _loads(plan: Settings) -> str:
    """Return the open loop's loads in words, with the closed loop that finds the peaks."""
    if not plan.finds_peaks:
        return ", ".join(map(str, plan.levels))
    shares = ", ".join(f"{share:.0%}".rstrip("%") for share in SHARES)
    return f"{plan.loads} loads (the peak, {shares} % of it, one equal rate)"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def read_result(path: Path) -> Result:
    """Read a result file; LabError if it cannot be read."""
    try:
        return from_json(path.read_text())
    except (OSError, ValueError) as error:
        raise LabError(f"{path}: {error}") from None


@click.command()
@click.argument("old", metavar="A", type=_file)
@click.argument("new", metavar="B", type=_file)
def diff(old: Path, new: Path) -> None:
    """Show what changed from A to B beyond the noise. Exit code 1: something got worse."""
    before, after = read_result(old), read_result(new)
    for text in differences.other_circumstances(before, after):
        console.print(f"conditions differ: {text}", style="yellow", highlight=False)
    cells = differences.shared(before, after)
    if not cells:
        raise LabError("the two files have no cell in common")
    found = differences.changes(before, after)
    show_changes(console, found, cells)
    sys.exit(any(change.worse for change in found))
