"""Locust on the running chain: the project's own locustfile, headless, as one process or several.

Several are locust's master and its workers, on a port of their own: two runs at once would take
each other's workers on locust's usual one.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import loadtest
from lab.chain.processes import free_port
from loadtest.curves import CURVES

LOCUSTFILE = Path(next(iter(loadtest.__path__))) / "locustfile.py"
ROUTES = ("hello", "json", "wait", "cpu", "bytes", "file", "echo", "stream", "whoami")
SHAPES = tuple(CURVES)


def locust_command(
    url: str,
    *,
    users: int,
    rate: float,
    seconds: float,
    routes: Sequence[str] = (),
    record: Path | None = None,
    shape: str | None = None,
    processes: int = 1,
) -> list[str]:
    """Return the command line of a headless run: `users` in all, `rate` started per second.

    `record` holds what one process asked, so it goes with one alone.
    """
    command = [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless"),
        *("--host", url, "--users", str(users), "--spawn-rate", f"{rate:g}"),
        *("--run-time", f"{seconds:g}s", "--only-summary", "--loglevel", "WARNING"),
        *("--stop-timeout", "5"),
    ]
    if routes:
        command += ["--tags", *routes]
    if record is not None:
        command += ["--record", str(record)]
    if shape is not None:
        command += ["--shape", shape]
    if processes > 1:
        port = str(free_port())
        command += ["--processes", str(processes), "--master-bind-host", "127.0.0.1"]
        command += ["--master-bind-port", port, "--master-port", port]
    return command


def run_load(command: Sequence[str]) -> int:
    """Run locust until it ends, its tables on the terminal; return its exit code, 1: failures."""
    return subprocess.run(command, check=False).returncode
