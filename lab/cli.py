"""`lab`: start the chain, swap its parts, put load on it, see what it costs."""

import json
import signal
import sys
from types import FrameType
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from lab import explain as explain_module
from lab import listing
from lab.chain.backends import BACKENDS, find_backend
from lab.chain.commands import COMMANDS as CHAIN_COMMANDS
from lab.chain.rundir import LabError
from lab.claims import claims
from lab.compare import bench as bench_module
from lab.compare.commands import compare, diff
from lab.compare.judge.agreement import standings
from lab.doctor import examine
from lab.experiments import experiment
from lab.tour.command import tour
from lab.trace.commands import trace
from loadtest.interrupts import INTERRUPTS

console = Console()


SECTIONS: Final = {
    "Run": ("up", "swap", "status", "verify", "load", "down", "demo"),
    "Compare": ("compare", "diff", "standings", "bench"),
    "Look inside": ("list", "trace", "doctor"),
    "Learn": ("explain", "experiment", "tour"),
}
"""The commands as `lab --help` shows them."""


class LabGroup(click.Group):
    """Shows its commands by section, and a LabError as one line and exit code 1."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section of commands, each with the whole first sentence of its help."""
        for title, names in SECTIONS.items():
            with formatter.section(title):
                rows = [(name, self._purpose(ctx, name)) for name in names]
                formatter.write_dl(rows, col_max=12)

    def _purpose(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        assert command is not None
        return (command.help or "").strip().partition("\n\n")[0].replace("\n", " ")

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise click.ClickException(str(error)) from None


@click.group(
    cls=LabGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="chainlab", prog_name="lab")
def main() -> None:
    """A lab of network server architectures: client → gateway → FastCGI → worker → app.

    Every part of the chain can be swapped while it serves.
    """
    for number in INTERRUPTS[1:]:
        signal.signal(number, _interrupt)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A background job goes on ignoring Ctrl-C, but what it starts must not: exec resets a
        # handler to the default, and would keep SIG_IGN.
        signal.signal(signal.SIGINT, lambda _number, _frame: None)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@main.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_parts(as_json: bool) -> None:
    """List all fronts and back ends, and what this machine lacks for them."""
    found = listing.rows()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        listing.show(console, found)


@main.command()
@click.argument("name", metavar="ID")
def explain(name: str) -> None:
    """Explain an architecture (its model and the system calls it makes) or a claim (E10)."""
    claim = claims().get(name.upper())
    if claim is not None:
        explain_module.show_claim(console, claim)
    elif name in BACKENDS:
        explain_module.run(console, find_backend(name))
    else:
        raise LabError(
            f"{name!r} is neither an architecture nor a claim; `lab list` shows the architectures,"
            f" the claims are {', '.join(claims())}"
        )


@main.command()
def doctor() -> None:
    """Show what this machine has and lacks, and how to install what is missing."""
    table = Table("", "what", "found", "used by", "to install", box=None, pad_edge=False)
    findings = examine()
    for finding in findings:
        mark = "[green]✓" if finding.found else "[red]✗" if finding.needed else "[yellow]–"
        remedy = "" if finding.found else finding.remedy
        table.add_row(mark, finding.name, finding.found or "missing", finding.use, remedy)
    console.print(table)
    if any(finding.needed and not finding.found for finding in findings):
        raise LabError("something needed is missing, see above; `make setup` installs it")


@main.command()
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=2, show_default=True,
              help="Seconds of load per measurement.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True,
              help="Interleaved rounds; the table shows their medians.")  # fmt: skip
def bench(seconds: float, rounds: int) -> None:
    """Measure CPU per request: gateway against nginx, worker against php-fpm, and more.

    Every architecture is also measured against a minimal server in C, the baseline.
    """
    sys.exit(bench_module.run(console, seconds, rounds))


for each in (*CHAIN_COMMANDS, compare, diff, standings, experiment, tour, trace):
    main.add_command(each)
