"""Locust on the running chain: the project's own locustfile, headless, as a process."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import loadtest

LOCUSTFILE = Path(next(iter(loadtest.__path__))) / "locustfile.py"
ROUTES = ("hello", "json", "wait", "cpu", "bytes", "file", "echo", "stream", "whoami")


def locust_command(
    url: str,
    *,
    users: int,
    rate: float,
    seconds: float,
    routes: Sequence[str] = (),
    record: Path | None = None,
) -> list[str]:
    """Return the command line of a headless run: `users` in all, `rate` started per second."""
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
    return command


def run_load(url: str, *, users: int, rate: float, seconds: float, routes: Sequence[str]) -> int:
    """Run locust until it ends, its table on the terminal; return its exit code, 1: failures."""
    command = locust_command(url, users=users, rate=rate, seconds=seconds, routes=routes)
    return subprocess.run(command, check=False).returncode
