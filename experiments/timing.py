"""Measure the cost of a call (median of rounds) and fit lines by least squares."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

ROUNDS: Final = 7
"""Rounds; the median is used, so a disturbed round does not count."""


def cost(call: Callable[[], object], calls: int, rounds: int = ROUNDS) -> float:
    """Return the CPU nanoseconds per call, loop included: the median of rounds.

    The thread's CPU clock excludes other processes on a busy machine; the call must not sleep.
    """
    found = []
    for _ in range(rounds):
        turns = range(calls)
        begin = time.thread_time_ns()
        for _turn in turns:
            call()
        found.append((time.thread_time_ns() - begin) / calls)
    return statistics.median(found)


def fit(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return slope and intercept of the line through (x, y)."""
    slope, intercept = statistics.linear_regression([x for x, _ in points], [y for _, y in points])
    return slope, intercept
