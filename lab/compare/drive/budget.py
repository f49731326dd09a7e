"""Estimates how long a comparison takes, and how long a trial may be so that all trials fit.

A trial costs more than its load: the driver is a fresh process, connections are opened and
accepted, counters are read. An instance costs its start and stop; one that starves clients also
costs their timeouts. An open loop at shares of a peak costs the trials that find the peak and
those at each load.
"""

from dataclasses import dataclass
from typing import Final

OVERHEAD: Final = 0.3
"""Seconds of a trial besides its load: a third is the driver's start, the rest is two readings of
the server's counters, the wait until it settles, and the histogram."""
CONNECT: Final = 0.001
"""Seconds per connection; the server may fork for each."""
START: Final = 0.6
"""Seconds to start, warm up and stop an instance."""
RESERVE: Final = 0.85
"""Share of the allowed time to plan; the rest is for timeouts, for wrk and for a busy machine."""
SYSCALL_TRIAL: Final = 1.0
"""Seconds of the trial that counts a cell's system calls."""
LOCUST_TRIAL: Final = 2.5
"""Seconds of a cell's single locust trial besides its load."""
IDLE_START: Final = 1.5
"""Seconds to measure the memory of idle connections, on a separate instance."""
SHORTEST: Final = 0.4
LONGEST: Final = 3.0
"""Bounds of the default seconds per trial. At 0.4 s, one 50 ms pause of the machine costs an eighth
of the throughput, and two pauses reach the noise limit."""

FULL: Final = 20 * 60.0
QUICK: Final = 3 * 60.0
"""Seconds that a comparison may take, by default and with --quick."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The size of a comparison."""

    targets: int  # including the baseline
    routes: int
    connections: tuple[int, ...]
    rounds: int
    syscalls_and_memory: bool = False  # also count system calls, measure idle connections
    loads: int = 1  # closed loop, equal rates, shares of the peak: one cell each
    locust: bool = False  # locust drives too, at one number of connections
    start: float = START

    def seconds(self, duration: float) -> float:
        """Return the total time with trials of `duration`."""
        trials = sum(OVERHEAD + CONNECT * number + duration for number in self.connections)
        instances = self.targets * len(self.connections)
        counting = self._counting() if self.syscalls_and_memory else 0.0
        locust = self._locust_trials * (duration + LOCUST_TRIAL)
        return (
            self._cells_at_once * self.rounds * trials + instances * self.start + counting + locust
        )

    def duration(self, allowed: float) -> float:
        """Return the duration of a trial that fits into `allowed` seconds, within the bounds."""
        left = allowed * RESERVE - self.seconds(0)
        trials = self._cells * self.rounds + self._locust_trials
        return round(min(LONGEST, max(SHORTEST, left / trials)), 2)

    def fits(self, allowed: float) -> bool:
        """Whether trials of the shortest duration fit."""
        return self.seconds(SHORTEST) <= allowed * RESERVE

    def _counting(self) -> float:
        return self._cells * SYSCALL_TRIAL + self.targets * IDLE_START

    @property
    def _locust_trials(self) -> int:
        return (self.targets - 1) * self.routes if self.locust else 0

    @property
    def _cells(self) -> int:
        return len(self.connections) * self._cells_at_once

    @property
    def _cells_at_once(self) -> int:
        """Cells per number of connections; the baseline has one, a closed loop on one route."""
        return (self.targets - 1) * self.routes * self.loads + 1
