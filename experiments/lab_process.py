"""`lab` commands as processes, from outside, each ended with whoever started it.

What `lab` starts (servers, strace) lives in sessions of its own; so `lab` must be asked to end, by
SIGTERM, and not be killed with our process group. The kernel asks it when this process dies, in
whatever way (PR_SET_PDEATHSIG, man prctl(2)).
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

SECONDS: Final = 90.0
"""For one command; those used here take some seconds on an idle machine."""

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


class LabFailed(Exception):
    """A command that did not end well: what it said last."""


class LabProcess:
    """Starts `lab` with a run folder of its own, so that a chain that is up is left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str) -> None:
        """Run a command to its end; LabFailed when it fails or is not done in time."""
        with self._start(*arguments) as process:
            try:
                _, said = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                raise LabFailed(f"lab {arguments[0]} was not done after {SECONDS:g} s") from None
            finally:
                _end(process)
        if process.returncode:
            raise LabFailed(f"lab {arguments[0]}: {_last(said)}")

    @contextmanager
    def chain(self, *options: str) -> Iterator[None]:
        """Have `lab up` run inside the block, with a front end at a free port."""
        deadline = time.monotonic() + SECONDS
        with self._start("up", "--port", "0", *options) as process:
            try:
                while not self._is_up():
                    if process.poll() is not None or time.monotonic() > deadline:
                        _end(process)
                        raise LabFailed(f"lab up: {_last(process.communicate()[1])}")
                yield
            finally:
                _end(process)

    def _is_up(self) -> bool:
        with self._start("status") as process:
            process.communicate()
        return process.returncode == 0

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "lab", *arguments],
            cwd=ROOT,
            env={**os.environ, "CHAINLAB_RUN": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_end_with_us,
        )


def _end_with_us() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: "subprocess.Popen[str]") -> None:
    """Ask it to end, and wait until it has stopped what it started."""
    if process.poll() is None:
        process.terminate()
        process.wait()


def _last(said: str) -> str:
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    return last.removeprefix("Error: ")
