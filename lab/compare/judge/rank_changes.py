"""Finds pairs of architectures whose order differs between runs of the same comparison.

A run tells two architectures apart if they have different places. Told apart in one run and tied in
another is no contradiction: a tie means that the rounds do not decide. Opposite orders in two runs
are a contradiction, and such a standing is not reliable.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from lab.compare.drive.levels import Level, level_of
from lab.compare.result import Metric, Result, Standing

Where = tuple[str, int, Level, Metric]
"""Route, connections, load, and the metric of the ranking."""


@dataclass(frozen=True, slots=True)
class RankChange:
    """A pair whose order differs between runs."""

    where: Where
    first: str
    second: str
    ahead: int
    """Runs in which the first is ahead."""
    behind: int
    """Runs in which the first is behind; never more than `ahead`."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """The agreement of several runs."""

    runs: int
    pairs: int
    """Pairs that at least two runs tell apart; a pair counts once per route, load and metric."""
    turned: list[RankChange]


def repeats(results: Sequence[Result]) -> Repeats:
    """Return the pairs whose order differs between the results."""
    ahead: dict[tuple[Where, str, str], int] = defaultdict(int)
    for result in results:
        for standing in result.standings:
            for better, worse in _ordered(standing):
                ahead[_where(standing), better, worse] += 1
    pairs, turned = 0, []
    for (where, one, other), times in ahead.items():
        back = ahead.get((where, other, one), 0)
        if back and (back, other) > (times, one):
            continue  # counted as (other, one)
        pairs += times + back > 1
        if back:
            turned.append(RankChange(where, one, other, times, back))
    return Repeats(len(results), pairs, turned)


def _where(standing: Standing) -> Where:
    return (standing.route, standing.connections, level_of(standing), standing.metric)


def _ordered(standing: Standing) -> list[tuple[str, str]]:
    """Return the pairs with different places, the better one first."""
    return [
        (better, worse)
        for ahead, behind in combinations(standing.places, 2)
        for better in ahead.architectures
        for worse in behind.architectures
    ]
