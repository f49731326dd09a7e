"""Loads the running chain with locust: the project's locustfile, headless, in one process or more.

With several processes, locust's master listens on a free port instead of its default: two runs at
the same time would otherwise take each other's workers.
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
    """Return the command line of a headless run: `users` in total, `rate` started per second.

    ValueError for `record` with several processes, which would overwrite each other's file.
    """
    if record is not None and processes > 1:
        raise ValueError(f"locust records to one file in one process, not in {processes}")
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
    """Run locust with its tables on the terminal; return its exit code, 1 if requests failed."""
    return subprocess.run(command, check=False).returncode
