"""Application timers, ordered by expiry (a binary heap).

Timers are never cancelled: when a timer of a closed connection expires, it is skipped. So adding a
timer costs O(log n), and nothing is ever searched.
"""

import heapq
import itertools
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Timers(Generic[Item]):
    """Items with an expiry time (time.monotonic seconds)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._order = itertools.count()  # items themselves are never compared

    def add(self, when: float, item: Item) -> None:
        """Add a timer: `due` returns `item` from `when` on."""
        heapq.heappush(self._heap, (when, next(self._order), item))

    def due(self, now: float) -> list[Item]:
        """Remove and return the expired items, earliest first."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        return found

    def next(self, otherwise: float) -> float:
        """Return the earliest expiry time, or `otherwise` if that is earlier."""
        return min(self._heap[0][0], otherwise) if self._heap else otherwise
