"""How long a comparison takes, told beforehand; how long a turn may be, for all to fit.

A turn costs more than its load: the driver is a fresh process, connections are opened, counters
read. An instance costs its start and its stop. Who starves clients waits for their timeouts too.
An open loop at shares of a peak costs the turns that find the peak, and those of each load.
"""

from dataclasses import dataclass
from typing import Final

OVERHEAD: Final = 0.45
"""Seconds of a turn beside its load."""
START: Final = 0.8
"""Seconds to start and stop an instance, and to warm it."""
RESERVE: Final = 0.85
"""Of the time allowed that is planned: the rest is for timeouts, for wrk, for a busy machine."""
DEEP_TURN: Final = 1.0
"""Seconds of the turn in which a cell's system calls are counted."""
LOCUST_TURN: Final = 2.5
"""Seconds that locust's one turn of a cell costs beside its load."""
DEEP_START: Final = 1.5
"""Seconds to measure what an idle connection holds, on an instance of its own."""
SHORTEST: Final = 0.25
LONGEST: Final = 3.0
"""Seconds of a turn, when nobody gives them."""

FULL: Final = 20 * 60.0
QUICK: Final = 3 * 60.0
"""Seconds that a comparison may take."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The size of a comparison."""

    contestants: int  # the null server is one
    routes: int
    connections: int  # how many different numbers of them
    rounds: int
    deep: bool = False  # system calls and idle connections too
    loads: int = 1  # closed loop, equal rates, shares of the peak: each a cell
    locust: bool = False  # whether it drives, at one number of connections
    start: float = START

    def seconds(self, duration: float) -> float:
        """Return how long it takes with turns of `duration`."""
        instances = self.contestants * self.connections
        deep = self._deep() if self.deep else 0.0
        deep += self._driven_by_locust * (duration + LOCUST_TURN)
        return self._cells * self.rounds * (duration + OVERHEAD) + instances * self.start + deep

    def duration(self, allowed: float) -> float:
        """Return the turns' duration that fits into `allowed` seconds, within the bounds."""
        left = allowed * RESERVE - self.seconds(0)
        turns = self._cells * self.rounds + self._driven_by_locust
        return round(min(LONGEST, max(SHORTEST, left / turns)), 2)

    def fits(self, allowed: float) -> bool:
        """Whether turns of the shortest duration fit."""
        return self.seconds(SHORTEST) <= allowed * RESERVE

    def _deep(self) -> float:
        return self._cells * DEEP_TURN + self.contestants * DEEP_START

    @property
    def _driven_by_locust(self) -> int:
        return (self.contestants - 1) * self.routes if self.locust else 0

    @property
    def _cells(self) -> int:
        """The null server has one for each number of connections, a closed loop on one route."""
        return self.connections * ((self.contestants - 1) * self.routes * self.loads + 1)
