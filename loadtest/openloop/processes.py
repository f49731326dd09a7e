"""Several driver processes, one result.

Each is a fresh interpreter, `python -m loadtest.openloop.worker FD`, at the end of a socket pair:
a fork would copy the caller's threads' locks, and would share its CPU time. They connect, report
ready, and start together at a given time of the monotonic clock, which is machine-wide.
"""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final

from loadtest.openloop.plan import Plan
from loadtest.openloop.result import Result, merge

_PATIENCE: Final = 30.0  # seconds beyond the plan's own, for starting and for adding up
_HEAD_START: Final = 0.02


class DriverFailed(RuntimeError):
    """The driver itself failed; the message says how."""


def run(plan: Plan, mark: Callable[[], None] = lambda: None) -> Result:
    """Carry out a plan and return what was found.

    Takes the plan's duration, at most its timeout twice, and what starting takes (about a second).
    `mark` is called when all are connected, and when all has ended and is connected still: whoever
    reads what the server has used does it there.
    """
    with ExitStack() as stack:
        pipes = [stack.enter_context(_Worker(plan, number)) for number in range(plan.processes)]
        for pipe in pipes:
            pipe.receive(plan.timeout + _PATIENCE)  # it is connected
        mark()
        begin = time.monotonic() + _HEAD_START
        for pipe in pipes:
            pipe.send(begin)
        results = [pipe.receive(plan.duration + plan.timeout + _PATIENCE) for pipe in pipes]
        mark()
    return merge(results)


class _Worker:
    """One process; gone when the block ends."""

    def __init__(self, plan: Plan, number: int) -> None:
        self._name = f"process {number + 1} of {plan.processes} of the driver"
        self._pipe: Connection
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-m", "loadtest.openloop.worker", str(theirs.fileno())]
        path = os.pathsep.join(filter(None, sys.path))
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )
        self.send((plan, number))

    def send(self, message: object) -> None:
        try:
            self._pipe.send(message)
        except (OSError, pickle.PicklingError) as error:
            raise DriverFailed(f"{self._name} cannot be told: {error}") from None

    def receive(self, seconds: float) -> Any:
        """Return what it says; DriverFailed when it says nothing, or that it failed."""
        try:
            if not self._pipe.poll(seconds):
                raise DriverFailed(f"{self._name} said nothing for {seconds:g} s")
            message = self._pipe.recv()
        except (EOFError, OSError):
            code = self._process.wait()
            raise DriverFailed(f"{self._name} ended early, with code {code}") from None
        if isinstance(message, str):
            raise DriverFailed(f"{self._name}: {message}")
        return message

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._pipe.close()
        if kind is not None:  # Ctrl-C, or another process failed
            self._process.kill()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
