"""Run an experiment in its own process and watch it from outside.

The process leads a process group, which is killed at the end in every case, so an experiment that
hangs or crashes leaves nothing behind. Changes to the process (limits, signals, descriptors, CPU
affinity) end with it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from experiments.frame import Experiment
from experiments.outcome import Outcome, failure
from loadtest.interrupts import interrupts_later


def run(experiment: Experiment) -> Outcome:
    """Run the experiment and return its outcome; a crash is an outcome too."""
    command = [sys.executable, "-m", "experiments", experiment.key, "--json", "-"]
    return watch(experiment, command)


def watch(experiment: Experiment, command: Sequence[str]) -> Outcome:
    """Run a command and return the outcome it writes to stdout, or a failure."""
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as stderr, tempfile.TemporaryFile("w+") as stdout:
        code = _wait(command, experiment.limits.seconds, stdout, stderr)
        seconds = round(time.monotonic() - begin, 3)
        if code is None:
            limit = experiment.limits.seconds
            return failure(experiment, seconds, f"stopped: not finished within {limit:g} s")
        stdout.seek(0)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return Outcome.from_json(stdout.read())
        stderr.seek(0)
        return failure(experiment, seconds, _crash(code, stderr.read()))


def _wait(command: Sequence[str], seconds: float, stdout: IO[str], stderr: IO[str]) -> int | None:
    """Return the exit code, or None after a timeout."""
    process = None
    try:
        with interrupts_later():  # an interrupt in Popen would leave the process unkilled
            process = subprocess.Popen(
                command,
                cwd=Path(__file__).parents[1],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _crash(code: int, stderr: str) -> str:
    last = stderr.strip().splitlines()[-1:] or ["no error message"]
    ended = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
    return f"the experiment crashed: {ended}: {last[0]}"
