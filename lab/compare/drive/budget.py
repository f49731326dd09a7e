"""How long a comparison takes, told beforehand; how long a turn may be, for all to fit.

A turn costs more than its load: the driver is a fresh process, connections are opened and taken,
counters read. An instance costs its start and its stop. Who starves clients waits for their
timeouts, too.
An open loop at shares of a peak costs the turns that find the peak, and those of each load.
"""

from dataclasses import dataclass
from typing import Final

OVERHEAD: Final = 0.3
"""Seconds of a turn beside its load: a third of it the driver's start, the rest two looks at the
server, its settling, and what becomes of the histogram."""
CONNECT: Final = 0.001
"""Seconds for each connection, which a server may fork for."""
START: Final = 0.6
"""Seconds to start and stop an instance, and to warm it."""
RESERVE: Final = 0.85
"""Of the time allowed that is planned: the rest is for timeouts, for wrk, for a busy machine."""
DEEP_TURN: Final = 1.0
"""Seconds of the turn in which a cell's system calls are counted."""
LOCUST_TURN: Final = 2.5
"""Seconds that locust's one turn of a cell costs beside its load."""
DEEP_START: Final = 1.5
"""Seconds to measure what an idle connection holds, on an instance of its own."""
SHORTEST: Final = 0.4
LONGEST: Final = 3.0
"""Seconds of a turn, when nobody gives them. In a shorter one a pause of the machine of 50 ms is an
eighth of its throughput, and two of them are the noise that is the limit."""

FULL: Final = 20 * 60.0
QUICK: Final = 3 * 60.0
"""Seconds that a comparison may take."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The size of a comparison."""

    contestants: int  # the null server is one
    routes: int
    connections: tuple[int, ...]
    rounds: int
    deep: bool = False  # system calls and idle connections too
    loads: int = 1  # closed loop, equal rates, shares of the peak: each a cell
    locust: bool = False  # whether it drives, at one number of connections
    start: float = START

    def seconds(self, duration: float) -> float:
        """Return how long it takes with turns of `duration`."""
        turns = sum(OVERHEAD + CONNECT * number + duration for number in self.connections)
        instances = self.contestants * len(self.connections)
        deep = self._deep() if self.deep else 0.0
        witness = self._driven_by_locust * (duration + LOCUST_TURN)
        return self._at_once * self.rounds * turns + instances * self.start + deep + witness

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
        return len(self.connections) * self._at_once

    @property
    def _at_once(self) -> int:
        """Cells of one number of connections; the null server's is a closed loop on one route."""
        return (self.contestants - 1) * self.routes * self.loads + 1
