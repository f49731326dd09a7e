"""Locust users for one trial of a comparison: one request repeated, every answer verified.

    locust -f loadtest/trial_users.py --headless --host URL --users N --record FILE …

`--path`, `--body` (a file with the only correct answer), `--timeout` and `--seconds` set the trial.
The seconds count from the moment when all users are running; requests that end earlier do not
count. At the end, one JSON object goes to `--record`. Locust's tables round to whole milliseconds
and two digits, so the times come from its request event, which has the exact values.
"""

import json
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import gevent
from locust import FastHttpUser, constant, events, task
from locust.env import Environment

from loadtest.openloop.record import Times
from loadtest.verifying import verify

_OPTIONS: Final = ("--path", "--body", "--timeout", "--seconds", "--record")


class TrialUser(FastHttpUser):
    """One connection on which the next request follows the answer."""

    wait_time = constant(0)
    path = ""
    body = b""

    @task
    def ask(self) -> None:
        """Send the request; anything but 200 with the expected body is a wrong answer."""
        with self.client.get(self.path, catch_response=True) as response:
            if response.status_code:  # 0: no answer; locust already counts that as an error
                verify(response, lambda got: got == self.body)


class Trial:
    """Counts from the moment when all users are running, and ends the run after `--seconds`."""

    def __init__(self, environment: Environment) -> None:
        options: Any = environment.parsed_options
        self._environment = environment
        self._record = Path(options.record)
        self._seconds = float(options.seconds)
        self._counting = False
        self._begun = self._elapsed = self._user = self._kernel = 0.0
        self._answered = 0
        self._errors: Counter[str] = Counter()
        self._wrong: Counter[str] = Counter()
        self._times = Times()
        environment.events.spawning_complete.add_listener(self._on_all_running)
        environment.events.request.add_listener(self._on_request)
        environment.events.quitting.add_listener(self._on_quitting)

    def _on_all_running(self, **_: Any) -> None:
        self._before = resource.getrusage(resource.RUSAGE_SELF)
        self._begun, self._counting = time.monotonic(), True
        gevent.spawn_later(self._seconds, self._end)

    def _on_request(
        self, response_time: float, exception: BaseException | None, response: Any, **_: Any
    ) -> None:
        if not self._counting:
            return
        self._times.add(response_time / 1000)
        if getattr(response, "status_code", 0):
            self._answered += 1
            if exception is not None:
                self._wrong["body" if response.status_code == 200 else "status"] += 1
        else:
            self._errors[type(exception).__name__] += 1

    def _end(self) -> None:
        self._counting, self._elapsed = False, time.monotonic() - self._begun
        after = resource.getrusage(resource.RUSAGE_SELF)
        self._user = after.ru_utime - self._before.ru_utime
        self._kernel = after.ru_stime - self._before.ru_stime
        assert self._environment.runner is not None  # it runs this trial
        self._environment.runner.quit()

    def _on_quitting(self, **_: Any) -> None:
        if self._elapsed:
            found = {
                "seconds": self._elapsed, "answered": self._answered, "errors": self._errors,
                "wrong": self._wrong, "user": self._user, "kernel": self._kernel,
                "latency": self._times.encode(),
            }  # fmt: skip
            self._record.write_text(json.dumps(found))
        self._environment.process_exit_code = 0  # failures are in the record


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Add the options of a trial."""
    for name in _OPTIONS:
        parser.add_argument(name, required=True)


@events.init.add_listener
def begin(environment: Environment, **_: Any) -> None:
    """Set up the users and the trial from the options."""
    options: Any = environment.parsed_options
    TrialUser.path, TrialUser.body = options.path, Path(options.body).read_bytes()
    TrialUser.network_timeout = TrialUser.connection_timeout = float(options.timeout)
    Trial(environment)
