"""Compares our components with real peers, measured alternately.

gateway ÷ nginx      one process each, in front of the same worker, access log on
worker ÷ php-fpm     each behind nginx, with as many children as connections (php-fpm needs them)
"""

from dataclasses import dataclass
from statistics import median
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from lab.compare.bench.measuring import Bench, Side, cost, side

CONNECTIONS: Final = (4, 32)
TARGETS: Final = {"gateway ÷ nginx": 1.3, "worker ÷ php-fpm": 0.85}


@dataclass(frozen=True, slots=True)
class Ratio:
    """Two sides, and the µs per request of both in every round."""

    title: str
    connections: int
    ours: Side
    peer: Side
    rounds: list[tuple[float, float]]

    @property
    def ratios(self) -> list[float]:
        """Our cost divided by the peer's, round by round, sorted."""
        return sorted(ours / peer for ours, peer in self.rounds)

    @property
    def met(self) -> bool:
        """Whether the median is within the target."""
        return median(self.ratios) <= TARGETS[self.title]


def run(console: Console, bench: Bench, seconds: float, rounds: int) -> bool:
    """Measure and print the ratios; return whether all are within their targets."""
    with console.status("starting both sides"):
        worker = bench.back("fcgi-worker", 4)
        ours, peer = (side(bench.front(name, worker, 4)) for name in ("gateway", "nginx"))
        ratios = [Ratio("gateway ÷ nginx", count, ours, peer, []) for count in CONNECTIONS]
        ratios += [_worker_ratio(bench, count) for count in CONNECTIONS]
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("", total=rounds * len(ratios))
        for number in range(rounds):
            for ratio in ratios:
                bar.update(task, description=f"round {number + 1}: {ratio.title}")
                measure_round(ratio, seconds, swap_order=bool(number % 2))
                bar.advance(task)
    show(console, ratios)
    return all(ratio.met for ratio in ratios)


def _worker_ratio(bench: Bench, connections: int) -> Ratio:
    sides = []
    for name in ("fcgi-worker", "php-fpm"):
        part = bench.back(name, connections)
        sides.append(Side(part, side(bench.front("nginx", part, connections)).url))
    return Ratio("worker ÷ php-fpm", connections, sides[0], sides[1], [])


def measure_round(ratio: Ratio, seconds: float, *, swap_order: bool) -> None:
    """Measure both sides once, one after the other."""
    order = (ratio.peer, ratio.ours) if swap_order else (ratio.ours, ratio.peer)
    costs = {id(each): cost(each, ratio.connections, seconds).total for each in order}
    ratio.rounds.append((costs[id(ratio.ours)], costs[id(ratio.peer)]))


def show(console: Console, ratios: list[Ratio]) -> None:
    """Print a row for each ratio."""
    table = Table("", box=SIMPLE_HEAD, title="CPU µs per request, GET /hello, kept connections")
    for head in ("clients", "ours", "peer", "ratio", "range", "target"):
        table.add_column(head, justify="right", no_wrap=True)
    for ratio in ratios:
        ours, peer = zip(*ratio.rounds, strict=True)
        target = TARGETS[ratio.title]
        verdict = "met" if ratio.met else "[red]missed[/]"
        table.add_row(
            Text(ratio.title, no_wrap=True),
            str(ratio.connections),
            f"{median(ours):.1f}",
            f"{median(peer):.1f}",
            f"{median(ratio.ratios):.2f}",
            f"{ratio.ratios[0]:.2f}–{ratio.ratios[-1]:.2f}",
            f"≤ {target} {verdict}",
        )
    console.print(table)
