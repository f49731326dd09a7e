"""The median of a few rounds and its 95 % bootstrap interval.

The bootstrap resamples the rounds with replacement and looks at the medians of the samples. For a
median, the limit of infinitely many samples has a closed form: the probability that the median is
at most the k-th smallest round is the probability that at least half of n draws hit the k smallest,
a binomial sum. So nothing is drawn here, and the same rounds give the same interval. With fewer
than 6 rounds, the interval is their whole range.
"""

from collections.abc import Sequence
from math import comb
from statistics import median
from typing import Final

from lab.compare.result import Interval

_TAIL: Final = 0.025  # on either side


def interval(values: Sequence[float]) -> Interval:
    """Return the median of `values` (not empty) and its 95 % bootstrap interval."""
    ordered = sorted(values)
    at = _lowest(len(ordered))
    return Interval(median(ordered), ordered[at], ordered[-1 - at])


def _lowest(count: int) -> int:
    """Return how many of the smallest values lie below the interval."""
    at = 0
    while at < (count - 1) // 2 and _chance(count, at + 1) <= _TAIL:
        at += 1
    return at


def _chance(count: int, smallest: int) -> float:
    """Return the probability that the median of `count` draws is among the `smallest` values.

    For an even count, the lower of the two middle draws counts as the median: the interval may get
    wider, never narrower.
    """
    part = smallest / count
    enough = range((count + 1) // 2, count + 1)
    return sum(comb(count, hits) * part**hits * (1 - part) ** (count - hits) for hits in enough)


def overlap(one: Interval, other: Interval) -> bool:
    """Whether two intervals share a point, so that they cannot be told apart."""
    return one.low <= other.high and other.low <= one.high
