"""An experiment in a process of its own, watched from outside.

It leads a process group: at the end, in time or not, whatever is left of the group is killed, so
that an experiment that hangs or dies leaves nothing behind. What it changes in its process (limits,
signals, descriptors, CPU affinity) goes with it.
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
    """Run it and return what came of it; a crash is an outcome too."""
    command = [sys.executable, "-m", "experiments", experiment.key, "--json", "-"]
    return watch(experiment, command)


def watch(experiment: Experiment, command: Sequence[str]) -> Outcome:
    """Return the outcome that a command writes to its stdout, or how it failed to."""
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as wrote:
        code = _wait(command, experiment.limits.seconds, wrote, said)
        seconds = round(time.monotonic() - begin, 3)
        if code is None:
            limit = experiment.limits.seconds
            return failure(experiment, seconds, f"stopped: not done after {limit:g} s")
        wrote.seek(0)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return Outcome.from_json(wrote.read())
        said.seek(0)
        return failure(experiment, seconds, _told(code, said.read()))


def _wait(command: Sequence[str], seconds: float, wrote: IO[str], said: IO[str]) -> int | None:
    """Return the exit code; None: its time was over."""
    process = None
    try:
        with interrupts_later():
            process = subprocess.Popen(
                command,
                cwd=Path(__file__).parents[1],
                stdin=subprocess.DEVNULL,
                stdout=wrote,
                stderr=said,
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


def _told(code: int, said: str) -> str:
    last = said.strip().splitlines()[-1:] or ["it said nothing"]
    ended = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
    return f"the experiment broke: {ended}: {last[0]}"
