"""Output of `lab verify`: a table that fills while the checks run, then the problems by name."""

from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lab.chain.verify import Result, Verifier
from servers.app.contract import Failure, checks

_FRAME: Final = 6  # lines that the table needs besides its rows
_SHOWN: Final = 8  # problems per back end: a dead server fails every check


def watch(console: Console, verifier: Verifier) -> None:
    """Run the checks with a live table; then print the full table, exceptions and problems."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        verifier.run(lambda: live.update(_running(verifier, console.height), refresh=True))
    console.print(_table([r for r in verifier.results if not r.unavailable]))
    _show_notes(console, verifier.results)
    console.print(_summary(verifier.results))


def result_row(result: Result) -> dict[str, Any]:
    """Return a result as JSON types; null for a way that was not checked."""
    return {
        "name": result.backend.name,
        "unavailable": result.unavailable,
        "direct": _as_json(result.direct),
        "through_gateway": _as_json(result.through),
        "exceptions": result.excepted,
        "unneeded_exceptions": result.unneeded,
        "problems": result.problems,
        "seconds": round(result.seconds, 2),
    }


def _as_json(way: list[Failure] | None) -> list[dict[str, str]] | None:
    if way is None:
        return None
    return [{"check": failure.name, "message": failure.message} for failure in way]


def _running(verifier: Verifier, height: int) -> RenderableType:
    """Return a table with the latest rows that fit in `height` lines."""
    begun = [r for r in verifier.results if not r.unavailable and r.state != "waiting"]
    return _table(begun[-max(1, height - _FRAME) :])


def _table(results: list[Result]) -> Table:
    table = Table(box=SIMPLE_HEAD, title=f"{len(checks())} rules of servers/app/CONTRACT.md")
    table.add_column("back end", no_wrap=True)
    for head in ("direct", "through the gateway", "seconds"):
        table.add_column(head, justify="right", no_wrap=True)
    for result in results:
        direct = "–" if result.backend.protocol == "fastcgi" else _cell(result, "direct")
        seconds = f"{result.seconds:.1f}" if result.state == "done" else ""
        through = _cell(result, "through the gateway")
        table.add_row(Text(result.backend.name), direct, through, seconds)
    return table


def _cell(result: Result, way: str) -> Text:
    failures = result.direct if way == "direct" else result.through
    if failures is None:
        if result.state == "done":
            return Text("not checked", style="red")
        return Text("…" if result.state == way else "")
    broken = len(result.counted(failures))
    if broken:
        return Text(f"{broken} failed", style="bold red")
    excepted = len(failures)
    return Text(f"all but {excepted} pass" if excepted else "all pass", style="green")


def _show_notes(console: Console, results: list[Result]) -> None:
    for result in results:
        name = result.backend.name
        if result.unavailable:
            console.print(Text.assemble((f"– {name}", "yellow"), f": {result.unavailable}"))
        for check, reason in result.excepted.items():
            console.print(Text.assemble((f"  {name}", "bold"), f": may fail {check}: {reason}"))
    for result in results:
        problems = result.problems
        for problem in problems[:_SHOWN]:
            name = f"✗ {result.backend.name}"
            console.print(Text.assemble((name, "bold red"), f": {problem}"))
        if len(problems) > _SHOWN:
            console.print(f"  and {len(problems) - _SHOWN} more; --json lists all", style="red")


def _summary(results: list[Result]) -> str:
    checked = [result for result in results if not result.unavailable]
    bad = sum(bool(result.problems) for result in checked)
    summary = f"{len(checked) - bad} of {len(checked)} keep the contract"
    lacking = len(results) - len(checked)
    return summary + (f"; {lacking} cannot run on this machine" if lacking else "")
