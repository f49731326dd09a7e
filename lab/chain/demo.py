"""`make demo`: the chain under load while back ends of every kind are swapped in.

One locust run spans all swaps and records every request, so a request that fails during a swap
shows up in the table. Each back end's figures come from a window of a few seconds after its swap;
CPU is the time its processes used in that window, divided by the requests in it.
"""

import csv
import json
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lab.chain.backends import BACKENDS
from lab.chain.display import draw_chain, machine
from lab.chain.lifecycle import start_chain, stop_chain, swap_backend
from lab.chain.load import locust_command
from lab.chain.processes import cpu_seconds, terminate
from lab.chain.rundir import LabError, RunDir, State

USERS = 16
WORKERS = 4
SHOWN = (
    "fcgi-worker", "php-fpm", "prefork", "thread", "epoll-lt", "io-uring", "coroutine",
    "c-extension", "go",
)  # fmt: skip
"""One back end of each kind; `lab list` shows all, `make bench` measures all."""

WARM_UP = 1.0  # seconds after a swap whose requests count only if they fail
WINDOW = 4.0  # seconds that are measured
_LONGEST = 150.0  # seconds until locust ends by itself, should the demo hang


@dataclass(frozen=True, slots=True)
class Phase:
    """One back end's window: times are seconds since the epoch."""

    backend: str
    begin: float
    end: float
    front_cpu: float
    backend_cpu: float


@dataclass(frozen=True, slots=True)
class Request:
    """One line of what locust recorded."""

    ended: float
    milliseconds: float
    failure: str


def run(console: Console) -> int:
    """Run the demo; return the exit code, 1 when a request failed."""
    console.print(f"[bold]chainlab[/] on {machine()}\n")
    with tempfile.TemporaryDirectory(prefix="chainlab-demo-") as folder:
        run_dir = RunDir(Path(folder))
        try:
            with console.status("starting the chain"):
                state = start_chain(run_dir, "gateway", "fcgi-worker", 0, WORKERS)
            draw_chain(console, state)
            show_request(console, state)
            phases, requests = load_each_kind(console, run_dir, state)
        finally:
            stop_chain(run_dir)
    failed = show_table(console, phases, requests)
    console.print(
        "\nNext:\n"
        "  [bold].venv/bin/lab up[/]              keep the chain running at http://127.0.0.1:8080\n"
        "  [bold].venv/bin/lab swap flup-fork[/]  swap the back end, from another terminal\n"
        "  [bold].venv/bin/lab load[/]            locust on every route\n"
        "  [bold].venv/bin/lab list[/]            everything you can swap in"
    )
    return 1 if failed else 0


def show_request(console: Console, state: State) -> None:
    """Show one request, with the headers that show which parts it passed."""
    console.print(f"\n[bold]$ curl -i {state.url}/whoami[/]")
    with urllib.request.urlopen(f"{state.url}/whoami", timeout=10) as answer:
        console.print(f"HTTP/1.1 {answer.status} {answer.reason}", highlight=False)
        for name, value in answer.headers.items():
            console.print(f"{name}: {value}", highlight=False)
        console.print_json(json.dumps(json.load(answer)), indent=2)


def load_each_kind(
    console: Console, run_dir: RunDir, state: State
) -> tuple[list[Phase], list[Request]]:
    """Load the chain with locust and swap in each back end of SHOWN that this machine can run."""
    names = [name for name in SHOWN if not BACKENDS[name].unavailable()]
    for name in set(SHOWN) - set(names):
        console.print(f"without {name}: {BACKENDS[name].unavailable()}", style="yellow")
    record = run_dir.path / "requests.csv"
    command = locust_command(
        state.url, users=USERS, rate=USERS, seconds=_LONGEST, routes=["hello"], record=record
    )
    log_path = run_dir.log_path("locust")
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    phases = []
    with log_path.open("wb") as log, Progress(*columns, console=console, transient=True) as bar:
        load = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            task = bar.add_task("starting locust", total=len(names))
            wait_for_requests(load, record, log_path)
            for name in names:
                if name != state.backend.name:
                    describe = f"swapping under load: {state.backend.name} → {name}"
                    bar.update(task, description=describe)
                    state = swap_backend(run_dir, name, lambda _step: None)
                bar.update(task, description=f"{USERS} users on {name}")
                phases.append(measure(state))
                bar.advance(task)
        finally:
            terminate(load)
    return phases, read_requests(record)


def wait_for_requests(load: subprocess.Popen[bytes], record: Path, log_path: Path) -> None:
    """Return when locust has sent its first requests."""
    deadline = time.monotonic() + 20
    while not record.exists() or not record.stat().st_size:
        if load.poll() is not None or time.monotonic() > deadline:
            said = log_path.read_text(errors="replace").strip().splitlines()
            raise LabError(f"locust did not start: {said[-1] if said else 'it said nothing'}")
        time.sleep(0.05)


def measure(state: State) -> Phase:
    """Measure one back end under the running load."""
    time.sleep(WARM_UP)
    begin, front, backend = time.time(), cpu_seconds(state.front), cpu_seconds(state.backend)
    time.sleep(WINDOW)
    return Phase(
        state.backend.name,
        begin,
        time.time(),
        cpu_seconds(state.front) - front,
        cpu_seconds(state.backend) - backend,
    )


def read_requests(record: Path) -> list[Request]:
    """Return every request that locust recorded."""
    with record.open(newline="") as lines:
        return [Request(float(row[0]), float(row[1]), row[3]) for row in csv.reader(lines)]


def show_table(console: Console, phases: list[Phase], requests: list[Request]) -> int:
    """Print a row for each back end; return how many requests failed, during swaps included."""
    title = (
        f"GET /hello, {USERS} locust users, {WORKERS} workers; times in ms; CPU in µs per request"
    )
    table = Table("back end", title=f"\n{title}", box=SIMPLE_HEAD)
    for head in ("requests", "failed", "median", "p99", "gateway µs", "back end µs"):
        table.add_column(head, justify="right", no_wrap=True)
    for phase in phases:
        window = [r for r in requests if phase.begin <= r.ended < phase.end]
        if len(window) < 2:
            raise LabError(f"{phase.backend} answered {len(window)} requests in its window")
        times = [r.milliseconds for r in window]
        table.add_row(
            phase.backend,
            str(len(window)),
            str(sum(bool(r.failure) for r in window)),
            f"{median(times):.1f}",
            f"{quantiles(times, n=100)[98]:.1f}",
            f"{phase.front_cpu / len(window) * 1e6:.0f}",
            f"{phase.backend_cpu / len(window) * 1e6:.0f}",
        )
    failures = [r for r in requests if r.failure]
    console.print(table)
    swaps = len(phases) - 1
    console.print(
        f"{len(requests)} requests in all, {len(failures)} failed, across {swaps} swaps under load"
    )
    for request in failures[:3]:
        console.print(f"  {request.failure}", style="red")
    return len(failures)
