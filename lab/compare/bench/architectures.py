"""Compares every architecture with the baseline: the cost of its I/O model over a minimal server.

The baseline is an epoll loop in C with a fixed answer. Each round measures all architectures once,
in a new random order, and divides by the baseline's cost in the same round.

Fairness. All get eight connections and, if they have workers, eight of them, because a kept
connection may pin a worker. HTTP servers are reached directly, FastCGI servers through a gateway
whose CPU does not count: so a FastCGI server's figure does not include HTTP parsing. Ended children
count with their parent. A note beside the figure says what an architecture cannot do: some close
each connection and pay for a handshake per request, `iterative` serves one of the eight clients,
`busy-poll` burns a core at any load, and so runs only while it is measured.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from lab.chain.backends import BACKENDS
from lab.chain.rundir import LabError
from lab.compare.bench.measuring import Bench, Cost, Side, cost, side
from servers.app import contract
from servers.common.spec import Spec

CONNECTIONS: Final = 8
WARM: Final = 0.1
SHARE: Final = 0.3
"""Of the seconds per side of a ratio; there are about thirty architectures."""

BASELINE: Final = "baseline"
TARGETS: Final = {
    **dict.fromkeys(("epoll-lt", "epoll-et", "epoll-oneshot", "epoll-exclusive"), 4.0),
    "c-extension": 1.5,
}

_LEGEND: Final = f"""\
FastCGI        behind the gateway, whose CPU is not counted
closes each    one connection per request: the figure includes the handshake
serves 1 of {CONNECTIONS}  the other clients wait until that client leaves
burns a core   busy or idle: the figure includes idle polling"""


@dataclass(slots=True)
class Entry:
    """One architecture, and its cost per request in every round."""

    name: str
    note: str = ""
    resident: bool = True  # False: started only for its own measurements
    side: Side | None = None
    rounds: list[Cost] = field(default_factory=list)
    failure: str = ""

    def ratios(self, baseline: "Entry") -> list[float]:
        """Return its cost divided by the baseline's, round by round, sorted."""
        return sorted(
            ours.total / least.total
            for ours, least in zip(self.rounds, baseline.rounds, strict=False)
        )

    def met(self, baseline: "Entry") -> bool:
        """Whether it was measured, and the median is within the target, if it has one."""
        if self.failure:
            return False
        target = TARGETS.get(self.name)
        return target is None or median(self.ratios(baseline)) <= target


def run(console: Console, bench: Bench, seconds: float, rounds: int) -> bool:
    """Measure every architecture that can run here; return whether all targets are met."""
    names = [name for name, backend in BACKENDS.items() if not backend.unavailable()]
    entries = measure(console, bench, names, seconds * SHARE, rounds)
    show(console, entries)
    lacking = [name for name in BACKENDS if name not in names]
    if lacking:
        console.print(f"not measured (lab list says why): {', '.join(lacking)}", style="yellow")
    return all(entry.met(entries[0]) for entry in entries)


def measure(
    console: Console, bench: Bench, names: Sequence[str], seconds: float, rounds: int
) -> list[Entry]:
    """Return the baseline and an entry for each of `names`, measured in `rounds` rounds."""
    specs = [BACKENDS[name].spec for name in names]
    entries = [Entry(BASELINE, "epoll in C"), *map(_entry, specs)]
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("starting every architecture", total=rounds * len(entries))
        for entry in entries:
            if entry.resident:
                _attempt(entry, lambda entry: _open(entry, bench))
        for number in range(rounds):
            order = list(entries)
            random.Random(number).shuffle(order)
            for entry in order:
                bar.update(task, description=f"round {number + 1}: {entry.name}")
                _attempt(entry, lambda entry: _measure_once(entry, bench, seconds))
                bar.advance(task)
    if entries[0].failure:
        raise LabError(f"the baseline: {entries[0].failure}")
    return entries


def _entry(spec: Spec) -> Entry:
    notes = (
        ("FastCGI", spec.protocol == "fastcgi"),
        ("closes each", not spec.keep_alive),
        (f"serves 1 of {CONNECTIONS}", spec.concurrency == "one"),
        ("burns a core", spec.mode == "busy polling"),
    )
    note = ", ".join(text for text, holds in notes if holds)
    return Entry(spec.name, note, resident=spec.mode != "busy polling")


def _attempt(entry: Entry, step: Callable[[Entry], None]) -> None:
    """Take a step; if it fails, only this architecture is not measured any more."""
    if entry.failure:
        return
    try:
        step(entry)
    except (LabError, AssertionError, OSError) as error:
        entry.failure = str(error)


def _open(entry: Entry, bench: Bench) -> None:
    if entry.name == BASELINE:
        entry.side = bench.baseline()
    elif BACKENDS[entry.name].protocol == "http":
        entry.side = bench.direct(entry.name, CONNECTIONS)
    else:
        part = bench.back(entry.name, CONNECTIONS)
        entry.side = Side(part, side(bench.front("gateway", part, CONNECTIONS)).url)
    # Verify one answer before timing; `lab verify` checks the whole contract.
    contract.fetch(entry.side.url, "/hello").expect(200, b"Hello, world!\n")


def _measure_once(entry: Entry, bench: Bench, seconds: float) -> None:
    if not entry.resident:
        _open(entry, bench)
    assert entry.side is not None
    entry.rounds.append(cost(entry.side, CONNECTIONS, seconds, WARM))
    if not entry.resident:
        bench.stop(entry.side.part)


def show(console: Console, entries: list[Entry]) -> None:
    """Print a row per architecture, the cheapest first, and what failed."""
    baseline = entries[0]
    title = f"CPU µs per request, GET /hello, {CONNECTIONS} kept connections"
    table = Table(box=SIMPLE_HEAD, title=title, padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    for head in ("user", "kernel", "total", "× baseline", "range"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("target, note")
    measured = [entry for entry in entries if not entry.failure]
    for entry in sorted(measured, key=lambda entry: median(c.total for c in entry.rounds)):
        ratios = entry.ratios(baseline)
        table.add_row(
            entry.name,
            f"{median(cost.user for cost in entry.rounds):.1f}",
            f"{median(cost.kernel for cost in entry.rounds):.1f}",
            f"{median(cost.total for cost in entry.rounds):.1f}",
            _ratio(median(ratios)),
            f"{_ratio(ratios[0])}–{_ratio(ratios[-1])}",
            _verdict(entry, baseline) or entry.note,
        )
    console.print(table)
    console.print(_LEGEND, style="dim", highlight=False)
    for entry in entries:
        if entry.failure:
            console.print(Text.assemble((f"✗ {entry.name}", "bold red"), f": {entry.failure}"))


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _verdict(entry: Entry, baseline: Entry) -> str:
    target = TARGETS.get(entry.name)
    if target is None:
        return ""
    return f"≤ {target:g} {'met' if entry.met(baseline) else '[red]missed[/]'}"
