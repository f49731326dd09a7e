"""The median of a few rounds, and how far it can be trusted: a 95 % bootstrap interval.

The bootstrap draws as many rounds again, with repetition, and looks where their median falls. For
a median the answer of infinitely many such draws is known: it is the k-th smallest round or below
with the chance that at least half of n draws hit the k smallest, a binomial sum. So nothing is
drawn here, and the same rounds give the same interval. Below 6 rounds it is their whole range.
"""

from collections.abc import Sequence
from math import comb
from statistics import median
from typing import Final

from lab.compare.result import Interval

_TAIL: Final = 0.025  # on either side


def interval(values: Sequence[float]) -> Interval:
    """Return the median of `values`, at least one, and its 95 % bootstrap interval."""
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
    """Return the chance that the median of `count` draws is one of the `smallest`.

    For an even count the lower of the two in the middle is asked for, which makes the interval
    wider, never narrower.
    """
    part = smallest / count
    enough = range((count + 1) // 2, count + 1)
    return sum(comb(count, hits) * part**hits * (1 - part) ** (count - hits) for hits in enough)


def overlap(one: Interval, other: Interval) -> bool:
    """Whether two intervals have a point in common: then they cannot be told apart."""
    return one.low <= other.high and other.low <= one.high
