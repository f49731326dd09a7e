"""Run `lab` commands as subprocesses that never outlive this process.

What `lab` starts (servers, strace) runs in sessions of its own, so killing our process group would
leave it behind. `lab` must get SIGTERM instead, and then stops everything itself. The kernel sends
that signal when this process dies, however it dies (PR_SET_PDEATHSIG, man prctl(2)).
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
"""Time limit of a command; those used here take a few seconds on an idle machine."""

_STOPPING: Final = 45.0
"""Seconds for a command to stop the parts of its chain, each of which has its own grace."""

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


class LabFailed(Exception):
    """A command failed; the message is the last line of its stderr."""


class LabProcess:
    """Starts `lab` with a separate run folder, so that a running chain is not touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str) -> None:
        """Run a command to completion; LabFailed if it fails or takes more than SECONDS."""
        with self._start(*arguments) as process:
            try:
                _, stderr = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                raise LabFailed(f"lab {arguments[0]} not finished within {SECONDS:g} s") from None
            finally:
                _end(process)
        if process.returncode:
            raise LabFailed(f"lab {arguments[0]}: {_last(stderr)}")

    @contextmanager
    def chain(self, *options: str) -> Iterator[None]:
        """Keep `lab up` running inside the block, with the front end on a free port."""
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
    """Have the kernel send SIGTERM to the child when its parent dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: "subprocess.Popen[str]") -> None:
    """Send SIGTERM and wait until `lab` has stopped everything it started."""
    if process.poll() is None:
        process.terminate()
        process.wait()


def _last(stderr: str) -> str:
    last = (stderr.strip().splitlines() or ["no error message"])[-1]
    return last.removeprefix("Error: ")
