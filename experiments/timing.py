"""The cost of a call and how it grows: medians of rounds, slopes fitted by least squares."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

ROUNDS: Final = 7
"""Of which the median counts: a round that was disturbed does not."""


def cost(call: Callable[[], object], calls: int, rounds: int = ROUNDS) -> float:
    """Return nanoseconds of CPU for one call, the loop's included: the median of rounds.

    The thread's own clock: on a busy machine others' turns are not in it. Nothing may sleep.
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
