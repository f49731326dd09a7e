"""The shapes of curves.py for locust: `--shape NAME` of the locustfile.

Locust always uses the first LoadTestShape class among a locustfile's names. So the locustfile
imports this module, not the class, and installs the requested shape on locust's `init` event. This
works with the web page, --headless, --processes and a master; a worker has no shape, because the
master sets its number of users per class.

`--users`, `--spawn-rate` and `--run-time`, from the command line or the page, apply to a shape too:
maximum users, users started or stopped per second, total duration.
"""

from typing import Any, Final

from locust import LoadTestShape

from loadtest.curves import CURVES, Course

RUN_TIME: Final = 60.0
"""Seconds of a run without --run-time: a shape needs an end to scale to."""


class Shape(LoadTestShape):
    """The number of users over time, by a curve's name."""

    use_common_options = True  # else the page hides the fields for users, rate and time

    def __init__(self, name: str) -> None:
        super().__init__()
        self._course = Course(CURVES[name])

    def tick(self) -> tuple[int, float] | None:
        """Return the number of users and the spawn rate; None ends the run."""
        assert self.runner is not None  # it calls this method
        options: Any = self.runner.environment.parsed_options
        rate = float(options.spawn_rate or 1)
        wanted = self._course.at(
            self.get_run_time(),
            users=options.num_users or 1,
            rate=rate,
            seconds=options.run_time or RUN_TIME,
        )
        return None if wanted is None else (wanted, rate)
