"""`make bench`: what a request costs, as a ratio to a real peer measured in the same run.

It measures CPU time per request, user and kernel, of a whole component, from /proc: on a shared
machine, throughput is noise, and so is a single absolute figure. The two sides of a ratio alternate
round by round, so that whatever slows the machine slows both. The median of the rounds' ratios
counts; the lowest and highest are shown beside it.

    peers            gateway ÷ nginx, worker ÷ php-fpm
    memory           the memory that 100,000 requests add to gateway and worker
    architectures    every server ÷ the baseline: epoll in C with a fixed answer
"""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from lab.chain.display import machine
from lab.chain.rundir import LabError
from lab.compare.bench import architectures, memory, peers
from lab.compare.bench.measuring import Bench


def run(console: Console, seconds: float, rounds: int) -> int:
    """Run the benchmark; return the exit code, 1 if a target is missed."""
    if shutil.which("wrk") is None:
        raise LabError("wrk is not installed: run sudo apt install wrk")
    console.print(f"[bold]chainlab bench[/] on {machine()}")
    met = []
    for part in (peers.run, memory.run, architectures.run):
        with tempfile.TemporaryDirectory(prefix="chainlab-bench-") as folder, ExitStack() as stack:
            met.append(part(console, Bench(Path(folder), stack), seconds, rounds))
    return 0 if all(met) else 1
