"""Terminal output: the chain as a diagram, next steps, and the machine in one line."""

import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lab.chain.backends import BACKENDS
from lab.chain.processes import family_of
from lab.chain.rundir import Part, State


def draw_chain(console: Console, state: State) -> None:
    """Draw the chain with addresses and pids."""
    backend = BACKENDS[state.backend.name]
    hop = "FastCGI" if backend.protocol == "fastcgi" else "HTTP"
    boxes: list[RenderableType] = [
        _box("client", ["curl", "locust"]),
        _arrow("HTTP"),
        _box(state.front.name, [state.front.address, _pids(state.front)]),
        _arrow(hop),
        _box(state.backend.name, [_socket(state.backend.address), _pids(state.backend)]),
        _arrow("call"),
        _box("app", ["servers/app" if not backend.script else "servers/php"]),
    ]
    grid = Table.grid(padding=0)
    for _ in boxes:
        grid.add_column(justify="center", vertical="middle")
    grid.add_row(*boxes)
    console.print(grid)


def _box(title: str, lines: Iterable[str]) -> Panel:
    return Panel(Text("\n".join(lines), justify="center"), title=f"[bold]{title}", expand=False)


def _arrow(label: str) -> Text:
    return Text(f"{label}\n──▶", justify="center")


def _socket(address: str) -> str:
    return Path(address).name if address.startswith("unix:") else address


def _pids(part: Part) -> str:
    family = family_of(part)
    if not family:
        return "not running"
    children = len(family) - 1
    return f"pid {part.pid}" + (f" +{children}" if children else "")


def draw_next(console: Console, state: State) -> None:
    """Print commands to try next."""
    usable = [name for name, b in BACKENDS.items() if not b.unavailable()]
    other = next((name for name in usable if name != state.backend.name), "fcgi-worker")
    print_commands(
        console,
        {
            f"curl -i {state.url}/whoami": "show which back end answers",
            f"lab swap {other}": "replace the back end; no request fails",
            "lab load": "load the chain with locust",
            "lab status": "show what is running",
            "lab down": "stop the chain",
        },
    )


def print_commands(console: Console, purposes: Mapping[str, str]) -> None:
    """Print commands to try next, with their purposes in a column."""
    console.print("Try next:", style="bold")
    width = max(map(len, purposes))
    for command, purpose in purposes.items():
        console.print(f"{command:{width}}  {purpose}", highlight=False, soft_wrap=True)


def machine() -> str:
    """Return the machine in one line: cores, processor, Linux and Python version."""
    model = "an unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    python = platform.python_version()
    return f"{cores} cores of {model}, Linux {platform.release()}, Python {python}"
