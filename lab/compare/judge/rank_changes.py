"""Whether the standings repeat: pairs that changed their order from one run to another.

A run tells two architectures apart when they have different places. Told apart in one run and tied
in another is no contradiction: a tie says that the rounds do not decide. Told apart both ways round
is one, and a standing that shows it cannot be believed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from lab.compare.drive.levels import Level, level_of
from lab.compare.result import Metric, Result, Standing

Where = tuple[str, int, Level, Metric]
"""Route, connections, load, and what the places go by."""


@dataclass(frozen=True, slots=True)
class RankChange:
    """Two that stand one way round in some runs, the other way in others."""

    where: Where
    first: str
    second: str
    ahead: int
    """Runs in which the first is ahead; in no more of them is it behind."""
    behind: int


@dataclass(frozen=True, slots=True)
class Repeats:
    """What several runs say together."""

    runs: int
    pairs: int
    """That at least two runs told apart; a pair counts once for each place it may have."""
    turned: list[RankChange]


def repeats(results: Sequence[Result]) -> Repeats:
    """Return which pairs changed their order between the results."""
    ahead: dict[tuple[Where, str, str], int] = defaultdict(int)
    for result in results:
        for standing in result.standings:
            for better, worse in _ordered(standing):
                ahead[_where(standing), better, worse] += 1
    pairs, turned = 0, []
    for (where, one, other), times in ahead.items():
        back = ahead.get((where, other, one), 0)
        if back and (back, other) > (times, one):
            continue  # the pair is counted from its other side
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
