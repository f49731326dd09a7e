"""Pauses of the application, in the order in which they end: a heap, man-made but small.

A pause is never cancelled: a connection that closed meanwhile is simply passed over when its
time comes. So adding costs O(log n) and nothing has to be searched.
"""

import heapq
import itertools
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Timers(Generic[Item]):
    """Items that are due at a time (seconds of time.monotonic)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._order = itertools.count()  # items themselves are never compared

    def add(self, when: float, item: Item) -> None:
        """Have `due` return `item` from `when` on."""
        heapq.heappush(self._heap, (when, next(self._order), item))

    def due(self, now: float) -> list[Item]:
        """Return the items whose time has come, earliest first; they are forgotten."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        return found

    def next(self, otherwise: float) -> float:
        """Return when the first is due; `otherwise` when that is earlier."""
        return min(self._heap[0][0], otherwise) if self._heap else otherwise
