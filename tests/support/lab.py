"""The `lab` command as users run it: as a process, with the test's own run folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import psutil


class Lab:
    """Runs lab commands on one run folder; the end of the block stops the chain."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {**os.environ, "CHAINLAB_RUN": str(folder), "COLUMNS": "100"}

    def command(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-m", "lab", *arguments]

    def run(self, *arguments: str, seconds: float = 90) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a long-running command, in its own session as in a terminal."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def good(self, *arguments: str, seconds: float = 90) -> str:
        """Run a command that must succeed; return its output."""
        done = self.run(*arguments, seconds=seconds)
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def logs(self, lines: int = 20) -> str:
        """Return the last lines of each part's log, to explain a failure."""
        found = sorted(self.folder.glob("*.log"))
        return "\n".join(
            "\n".join([f"--- {path.name}", *path.read_text().splitlines()[-lines:]])
            for path in found
            if not path.name.endswith("access.log")
        )

    def up(self, *options: str) -> str:
        """Start a chain on a free port, detached; return HOST:PORT."""
        self.good("up", "--detach", "--port", "0", *options)
        return self.address

    @property
    def status(self) -> dict[str, Any]:
        """The output of `lab status --json`."""
        found: dict[str, Any] = json.loads(self.good("status", "--json"))
        return found

    @property
    def address(self) -> str:
        """HOST:PORT of the front."""
        return str(self.status["url"]).removeprefix("http://")

    def processes(self) -> list[str]:
        """Return the command lines of living processes that contain the run folder's path."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            line = " ".join(process.info["cmdline"] or [])
            if str(self.folder) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(line)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.run("down")
