"""Load shapes as plain functions of time, without locust.

A curve maps a fraction of the run time to a fraction of all users, both from 0 to 1. `Course` turns
that into whole users and respects the spawn rate, up and down: locust's own ramp blocks its caller
until all users exist, so spawning 1000 users at one per second would outlast the run.

This module must not import locust, which monkey-patches the whole importing process.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Final

STEPS: Final = 5
LOW: Final = 0.1
"""Share of the users before and after the spike."""
SPIKE: Final = (0.4, 0.6)
"""Start and end of the spike, as fractions of the run time."""
RAMP: Final = 0.1
"""Fraction of the run time in which a soak ramps up, and in which it ramps down."""
CROWD: Final = 10
"""One in CROWD users of a crowd sends requests without pause; the others hold a connection."""

_WIDTH: Final = 40
_BARS: Final = " ▁▂▃▄▅▆▇█"

Curve = Callable[[float], float]


def steady(_part: float) -> float:
    """All users all the time."""
    return 1.0


def steps(part: float) -> float:
    """Another fifth of the users in each fifth of the time: where does the server give way?"""
    return (int(part * STEPS) + 1) / STEPS


def spike(part: float) -> float:
    """A tenth of the users, except all in the middle fifth: does the server recover?"""
    return 1.0 if SPIKE[0] <= part < SPIKE[1] else LOW


def soak(part: float) -> float:
    """A slow ramp up, a long plateau, a slow ramp down: does memory leak, and is it freed?"""
    return min(1.0, part / RAMP, (1 - part) / RAMP)


CURVES: Final[dict[str, Curve]] = {
    "steady": steady,
    "steps": steps,
    "spike": spike,
    "soak": soak,
    "crowd": steady,  # of two kinds of users
}


class Course:
    """Follows a curve; call `at` every second."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        self._begin()

    def _begin(self) -> None:
        self._then = -1.0  # so that the call at 0 seconds already has one second's worth of users
        self._level = 0.0

    def at(self, now: float, *, users: int, rate: float, seconds: float) -> int | None:
        """Return how many users there should be `now`, in seconds; None if the time is up.

        `users` is the maximum, `rate` how many start or stop per second. A `now` earlier than in
        the last call begins another run.
        """
        if now >= seconds:
            return None
        if now < self._then:
            self._begin()
        wanted = max(1.0, users * self._curve(now / seconds))
        reach = rate * (now - self._then)
        self._level = min(max(wanted, self._level - reach), self._level + reach)
        self._then = now
        return max(1, round(self._level))


def drawn(counts: list[int]) -> str:
    """Return `counts` as a line of bars, each the maximum of its stretch; the tallest is full."""
    width = min(_WIDTH, len(counts))
    edges = [len(counts) * at // width for at in range(width + 1)]
    most = max(counts) or 1
    tallest = [max(counts[first:end]) for first, end in pairwise(edges)]
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in tallest)
