"""`make bench`: what a request costs, as a ratio to the real peer measured in the same run.

CPU time per request, user and system, of the whole component, from /proc: throughput on a shared
machine is noise, and so is a single absolute figure. The two sides of a ratio take turns, round
by round, so that whatever slows the machine slows both; the median of the rounds' ratios counts,
the lowest and highest stand beside it.

    gateway ÷ nginx      one process each, before the same worker, access log on
    worker ÷ php-fpm     behind nginx each, as many children as connections (php-fpm needs them)
    memory               what 100,000 requests add to gateway and worker
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from lab.backends import find_backend
from lab.display import machine
from lab.fronts import find_front, nginx_config
from lab.processes import cpu_seconds, free_port, resident_bytes, start_part, stop_part
from lab.rundir import LabError, Part, RunDir
from servers.app import contract
from transport import Address

CONNECTIONS = (4, 32)
SOAK = 100_000  # requests between the two looks at memory
GROWTH = 1 << 20  # bytes that they may add
TARGETS = {"gateway ÷ nginx": 1.3, "worker ÷ php-fpm": 0.85}


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a ratio: the part whose CPU counts, and the URL that loads it."""

    part: Part
    url: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """A pair of sides, and µs per request of both in every round."""

    title: str
    connections: int
    ours: Side
    peer: Side
    rounds: list[tuple[float, float]]

    @property
    def ratios(self) -> list[float]:
        """Ours divided by the peer's, round by round."""
        return sorted(ours / peer for ours, peer in self.rounds)

    @property
    def met(self) -> bool:
        """Whether the median is within the target."""
        return median(self.ratios) <= TARGETS[self.title]


class Stage:
    """The parts under measurement; all are stopped at the end."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._count = 0

    def _next_folder(self) -> RunDir:
        self._count += 1
        return RunDir(self._folder / str(self._count))

    def back(self, name: str, workers: int) -> Part:
        """Start a back end with `workers` children."""
        part = find_backend(name).start(self._next_folder(), workers, self._count)
        self._stack.callback(stop_part, part)
        return part

    def front(self, name: str, backend: Part) -> Part:
        """Start a front, one process, its connections to `backend` kept."""
        run_dir = self._next_folder()
        listen = Address("127.0.0.1", free_port())
        kind, chosen = find_front(name), find_backend(backend.name)
        config = kind.write_config(run_dir.path, listen, chosen, backend.address, 0)
        if name == "nginx":  # kept connections to php-fpm too: there is a child for each
            text = nginx_config(run_dir.path, listen, chosen, backend.address, keep=True)
            config.write_text(text)
        part = start_part(name, kind.command(config), listen, run_dir)
        self._stack.callback(stop_part, part)
        failures = contract.verify(f"http://{listen}", quick=True)
        if failures:
            raise LabError(f"{name} before {backend.name} breaks the contract: {failures[0]}")
        return part


def run(console: Console, seconds: float, rounds: int) -> int:
    """Run the benchmark; return the exit code, 1 when a target is missed."""
    if shutil.which("wrk") is None:
        raise LabError("wrk is not installed: run sudo apt install wrk")
    console.print(f"[bold]chainlab bench[/] on {machine()}")
    with tempfile.TemporaryDirectory(prefix="chainlab-bench-") as folder, ExitStack() as stack:
        stage = Stage(Path(folder), stack)
        with console.status("starting both sides"):
            worker = stage.back("fcgi-worker", 4)
            gateway, nginx = stage.front("gateway", worker), stage.front("nginx", worker)
            ratios = [
                Ratio("gateway ÷ nginx", count, _side(gateway), _side(nginx), [])
                for count in CONNECTIONS
            ]
            ratios += [_worker_ratio(stage, count) for count in CONNECTIONS]
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("", total=rounds * len(ratios))
            for number in range(rounds):
                for ratio in ratios:
                    bar.update(task, description=f"round {number + 1}: {ratio.title}")
                    measure_round(ratio, seconds, swap_order=bool(number % 2))
                    bar.advance(task)
        show_ratios(console, ratios)
        with console.status(f"memory over {SOAK:,} requests"):
            grown = measure_memory(_side(gateway).url, {"gateway": gateway, "worker": worker})
    show_memory(console, grown)
    met = all(ratio.met for ratio in ratios) and max(grown.values()) <= GROWTH
    return 0 if met else 1


def _side(front: Part) -> Side:
    return Side(front, f"http://{front.address}")


def _worker_ratio(stage: Stage, connections: int) -> Ratio:
    sides = []
    for name in ("fcgi-worker", "php-fpm"):
        part = stage.back(name, connections)
        sides.append(Side(part, _side(stage.front("nginx", part)).url))
    return Ratio("worker ÷ php-fpm", connections, sides[0], sides[1], [])


def measure_round(ratio: Ratio, seconds: float, *, swap_order: bool) -> None:
    """Load both sides once, in turns."""
    order = (ratio.peer, ratio.ours) if swap_order else (ratio.ours, ratio.peer)
    costs = {id(side): cost(side, ratio.connections, seconds) for side in order}
    ratio.rounds.append((costs[id(ratio.ours)], costs[id(ratio.peer)]))


def cost(side: Side, connections: int, seconds: float) -> float:
    """Return CPU µs per request of `side` under a closed loop of `connections` clients."""
    load(side.url, connections, 0.3)  # warm: connections, caches, memos
    before = cpu_seconds(side.part)
    done = load(side.url, connections, seconds)
    return (cpu_seconds(side.part) - before) / done * 1e6


def load(url: str, connections: int, seconds: float) -> int:
    """Return how many requests wrk got answered; LabError when an answer was wrong."""
    # wrk takes whole seconds; timeout ends it cleanly (SIGINT) at a fraction.
    command = ["wrk", "-t1", f"-c{connections}", "-d60", "--timeout", "10", f"{url}/hello"]
    limit = ["timeout", "--signal=INT", f"{seconds:g}"]
    out = subprocess.run(limit + command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+) requests in", out)
    wrong = re.search(r"Non-2xx.*|Socket errors:.*", out)
    if not found or not int(found[1]) or wrong:
        raise LabError(f"wrk on {url}: {wrong[0] if wrong else out.strip() or 'no answer'}")
    return int(found[1])


def measure_memory(url: str, parts: dict[str, Part]) -> dict[str, int]:
    """Return how many bytes each part's resident memory grew over SOAK requests."""
    _until(SOAK // 5, lambda: load(url, 32, 1))
    before = {name: resident_bytes(part) for name, part in parts.items()}
    _until(SOAK, lambda: load(url, 32, 1))
    return {name: resident_bytes(part) - before[name] for name, part in parts.items()}


def _until(count: int, step: Callable[[], int]) -> None:
    done = 0
    while done < count:
        done += step()


def show_ratios(console: Console, ratios: list[Ratio]) -> None:
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


def show_memory(console: Console, grown: dict[str, int]) -> None:
    """Print what was added."""
    for name, size in grown.items():
        verdict = "flat" if size <= GROWTH else "[red]grows[/]"
        console.print(f"{name}: {size / 1024:+.0f} KiB over {SOAK:,} requests: {verdict}")
