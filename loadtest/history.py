"""Prints the number of users over time and the driver, as the last lines of locust's output.

The lines go to the log of locust's tables. The process that controls the users prints them: a
single process, or the master, to which the workers report their numbers of users.
"""

import logging
from importlib.metadata import version
from time import monotonic
from typing import Any, Final

import gevent
from locust.env import Environment
from locust.runners import MasterRunner

from loadtest.curves import drawn

_EVERY: Final = 0.2  # seconds


class History:
    """Follows a run, and prints its history when locust quits."""

    def __init__(self, environment: Environment, shape: str) -> None:
        self._environment = environment
        self._shape = shape
        self._begun = 0.0
        self._seconds = 0.0
        self._users: list[int] = []
        self._workers = 0
        self._watching: gevent.Greenlet | None = None
        environment.events.test_start.add_listener(self._on_start)
        environment.events.test_stopping.add_listener(self._on_stopping)
        environment.events.quit.add_listener(self._on_quit)

    def _on_start(self, **_: Any) -> None:
        self._users, self._workers, self._begun = [], 0, monotonic()
        self._watching = gevent.spawn(self._watch)

    def _watch(self) -> None:
        while True:
            runner = self._environment.runner
            assert runner is not None  # it started the test
            self._users.append(runner.user_count)
            if isinstance(runner, MasterRunner):
                self._workers = max(self._workers, runner.worker_count)
            gevent.sleep(_EVERY)

    def _on_stopping(self, **_: Any) -> None:
        if self._watching is not None:
            self._watching.kill(block=False)
            self._seconds = monotonic() - self._begun

    def _on_quit(self, **_: Any) -> None:
        if self._users:
            logging.getLogger("locust.stats_logger").info("%s\n", self._summary())

    def _summary(self) -> str:
        processes = f"{self._workers} worker processes" if self._workers else "one process"
        shape = f"shape {self._shape}" if self._shape else "no shape"
        return (
            f"driven by locust {version('locust')} in {processes}, {shape}, {self._seconds:.0f} s\n"
            f"users over time {drawn(self._users)} at most {max(self._users)}"
        )
