"""What every child is doing, in shared memory.

Each child writes its own row; its master and whoever else has the memory read it. A write is a
memory store and costs no system call. There is no lock: a reader may see a row in the middle of a
change, so whoever acts on a row looks twice (see `Pool.end_overdue`).

    state     FREE, STARTING, IDLE or BUSY
    since     monotonic seconds at which the state began
    requests  requests begun by this child
    memory    resident bytes, written by the master
    line      method and URI of the running or last request
"""

import mmap
from dataclasses import dataclass
from typing import Final

FREE: Final = 0
STARTING: Final = 1
IDLE: Final = 2
BUSY: Final = 3

_ROW: Final = 512
_STATE, _SINCE, _REQUESTS, _MEMORY, _LENGTH = range(5)  # words of eight bytes
_TEXT: Final = 40  # where the line begins
LINE_LIMIT: Final = _ROW - _TEXT
"""Maximum bytes of a request's line; the rest is cut off."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row, as read at one moment."""

    state: int
    since: float
    requests: int
    memory: int
    line: str


class Mark:
    """One row, as its child writes it."""

    __slots__ = ("_requests", "_text", "_times", "_words")

    def __init__(self, row: memoryview) -> None:
        self._words = row.cast("Q")
        self._times = row.cast("d")
        self._text = row[_TEXT:]
        self._requests = 0

    def starting(self, now: float) -> None:
        """A new child has this row now."""
        self._words[_REQUESTS] = self._words[_MEMORY] = self._words[_LENGTH] = 0
        self._times[_SINCE] = now
        self._words[_STATE] = STARTING

    def begin(self, line: bytes, now: float) -> int:
        """A request begins; return its number, from 1. `line` is at most LINE_LIMIT bytes."""
        length = len(line)
        self._text[:length] = line
        self._words[_LENGTH] = length
        self._requests = number = self._requests + 1
        self._words[_REQUESTS] = number
        self._times[_SINCE] = now
        self._words[_STATE] = BUSY
        return number

    def idle(self, now: float) -> None:
        """The child waits for a request."""
        self._words[_STATE] = IDLE
        self._times[_SINCE] = now


class Scoreboard:
    """The rows of one pool; `rows` must be at least one."""

    def __init__(self, rows: int) -> None:
        # Anonymous shared memory: every process forked from here sees the same bytes.
        self._memory = memoryview(mmap.mmap(-1, rows * _ROW))
        self._rows = [self._memory[at : at + _ROW] for at in range(0, rows * _ROW, _ROW)]
        self._words = self._memory.cast("Q")
        self._times = self._memory.cast("d")

    def __len__(self) -> int:
        return len(self._rows)

    def mark(self, row: int) -> Mark:
        """Return the writer of a row."""
        return Mark(self._rows[row])

    def busy_since(self, row: int) -> float:
        """Return when the running request of a row began; 0.0 if none runs."""
        at = row * _ROW // 8
        return self._times[at + _SINCE] if self._words[at + _STATE] == BUSY else 0.0

    def set_memory(self, row: int, resident: int) -> None:
        """Note the resident bytes of a child."""
        self._words[row * _ROW // 8 + _MEMORY] = resident

    def free(self, row: int) -> None:
        """The child of this row has ended."""
        self._words[row * _ROW // 8 + _STATE] = FREE

    def read(self, row: int) -> Row:
        """Return a row as it is now."""
        at = row * _ROW // 8
        length = min(self._words[at + _LENGTH], LINE_LIMIT)
        return Row(
            self._words[at + _STATE],
            self._times[at + _SINCE],
            self._words[at + _REQUESTS],
            self._words[at + _MEMORY],
            bytes(self._rows[row][_TEXT : _TEXT + length]).decode("latin-1"),
        )
