"""How hard a cell was driven: in a closed loop, at a rate for all, or at a share of its own peak.

The peak is the closed loop's throughput on the same route with the same connections. Equal rates
compare latencies directly; shares of each target's own peak compare targets that are equally busy.
The two never go into one table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lab.compare.result import Cell, Standing

SHARES: Final = (0.5, 0.75, 0.9)
"""Of each target's own peak."""
EQUAL: Final = 0.5
"""Of the lowest peak: the default equal rate."""


@dataclass(frozen=True, slots=True)
class Level:
    """One load; both None: the closed loop."""

    rate: float | None = None
    """Intended requests per second, the same for all."""
    of_peak: float | None = None
    """A share of each target's own peak."""

    def __str__(self) -> str:
        if self.of_peak is not None:
            return f"{percent(self.of_peak)} of its own peak"
        if self.rate is None:
            return "closed loop"
        return f"{self.rate:,.0f}/s" if self.rate >= 100 else f"{self.rate:.3g}/s"

    @property
    def order(self) -> tuple[float, float]:
        """Sort key: closed loop, equal rates, shares; each ascending."""
        if self.of_peak is not None:
            return 2, self.of_peak
        return (0, 0) if self.rate is None else (1, self.rate)


CLOSED: Final = Level()


def percent(share: float) -> str:
    """Return `75 %` for 0.75."""
    return f"{share * 100:.0f} %"


def level_of(one: Cell | Standing) -> Level:
    """Return the level; at a share of the peak without the rate, which differs by architecture."""
    return Level(one.rate if one.of_peak is None else None, one.of_peak)


def equal_rate(peaks: Sequence[float]) -> float | None:
    """Return the rate for all, from the lowest peak; None if there is no peak."""
    slowest = min((each for each in peaks if each > 0), default=None)
    return None if slowest is None else float(f"{EQUAL * slowest:.3g}")
