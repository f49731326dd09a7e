"""What `lab verify` shows: a table that fills while the checks run, then what is wrong, by name."""

from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lab.chain.verify import Result, Verifier
from servers.app.contract import Failure, checks

_FRAME: Final = 6  # lines around the rows, on a terminal of console.height
_TOLD: Final = 8  # problems of one back end; one that is gone breaks every rule


def watch(console: Console, verifier: Verifier) -> None:
    """Run the checks and show them; at the end everything, exceptions and problems included."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        verifier.run(lambda: live.update(_running(verifier, console.height), refresh=True))
    console.print(_table([r for r in verifier.results if not r.unavailable]))
    _show_notes(console, verifier.results)
    console.print(_summary(verifier.results))


def result_row(result: Result) -> dict[str, Any]:
    """Return a result as JSON's types; a way that was not asked is null."""
    return {
        "name": result.backend.name,
        "unavailable": result.unavailable,
        "straight": _as_json(result.straight),
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
    """Return the rows that a terminal has room for, the latest of them."""
    begun = [r for r in verifier.results if not r.unavailable and r.state != "waits"]
    return _table(begun[-max(1, height - _FRAME) :])


def _table(results: list[Result]) -> Table:
    table = Table(box=SIMPLE_HEAD, title=f"{len(checks())} rules of servers/app/CONTRACT.md")
    table.add_column("back end", no_wrap=True)
    for head in ("straight", "through the gateway", "seconds"):
        table.add_column(head, justify="right", no_wrap=True)
    for result in results:
        straight = "–" if result.backend.protocol == "fastcgi" else _cell(result, "straight")
        seconds = f"{result.seconds:.1f}" if result.state == "done" else ""
        through = _cell(result, "through the gateway")
        table.add_row(Text(result.backend.name), straight, through, seconds)
    return table


def _cell(result: Result, way: str) -> Text:
    failures = result.straight if way == "straight" else result.through
    if failures is None:
        if result.state == "done":
            return Text("not asked", style="red")
        return Text("…" if result.state == way else "")
    broken = len(result.counted(failures))
    if broken:
        return Text(f"{broken} broken", style="bold red")
    excepted = len(failures)
    return Text(f"all but {excepted}" if excepted else "all hold", style="green")


def _show_notes(console: Console, results: list[Result]) -> None:
    for result in results:
        name = result.backend.name
        if result.unavailable:
            console.print(Text.assemble((f"– {name}", "yellow"), f": {result.unavailable}"))
        for check, reason in result.excepted.items():
            console.print(Text.assemble((f"  {name}", "bold"), f": not {check}: {reason}"))
    for result in results:
        problems = result.problems
        for problem in problems[:_TOLD]:
            told = f"✗ {result.backend.name}"
            console.print(Text.assemble((told, "bold red"), f": {problem}"))
        if len(problems) > _TOLD:
            console.print(f"  and {len(problems) - _TOLD} more; --json has them", style="red")


def _summary(results: list[Result]) -> str:
    asked = [result for result in results if not result.unavailable]
    bad = sum(bool(result.problems) for result in asked)
    told = f"{len(asked) - bad} of {len(asked)} keep the contract"
    lacking = len(results) - len(asked)
    return told + (f"; {lacking} cannot run on this machine" if lacking else "")
