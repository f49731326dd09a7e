"""Runs several driver processes and merges their results.

Each is a fresh interpreter, `python -m loadtest.openloop.worker FD`, at the end of a socket pair: a
fork would copy the locks of the caller's threads and share its CPU time. They connect, report
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

_PATIENCE: Final = 30.0  # seconds beyond the plan's own, for starting and for merging
_HEAD_START: Final = 0.02  # seconds for all processes to receive the start time


class DriverFailed(RuntimeError):
    """The driver itself failed; the message says how."""


def run(plan: Plan, mark: Callable[[], None] = lambda: None) -> Result:
    """Carry out a plan and return the result.

    Takes the plan's duration, at most twice its timeout, and about a second for starting. `mark` is
    called twice, so that the caller can read the server's resource usage: when all connections are
    open, and when all requests have ended but the connections are still open.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(_Worker(plan, number)) for number in range(plan.processes)]
        for worker in workers:
            worker.receive(plan.timeout + _PATIENCE)  # it has connected
        mark()
        begin = time.monotonic() + _HEAD_START
        for worker in workers:
            worker.send(begin)
        patience = plan.duration + plan.timeout + _PATIENCE
        results = [worker.receive(patience) for worker in workers]
        mark()
    return merge(results)


class _Worker:
    """One driver process; it is gone when the block ends."""

    def __init__(self, plan: Plan, number: int) -> None:
        self._name = f"driver process {number + 1} of {plan.processes}"
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
            raise DriverFailed(f"{self._name}: cannot send to it: {error}") from None

    def receive(self, seconds: float) -> Any:
        """Return its message; DriverFailed if none comes in time, or if it reports an error."""
        try:
            if not self._pipe.poll(seconds):
                raise DriverFailed(f"{self._name} sent nothing for {seconds:g} s")
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
