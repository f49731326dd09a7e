"""What every child is doing, in shared memory.

Each child writes its own row; its master and whoever else has the memory read it. A write is a
memory store and costs no system call. There is no lock: a reader may see a row in the middle of a
change, so whoever acts on a row looks twice (see `Pool.end_overdue`).

    state     FREE, STARTING, IDLE or BUSY
    since     monotonic seconds at which the child or its running or last request began
    requests  requests begun by this child
    memory    resident bytes, written by the master
    line      method and URI of the running or last request
"""

import mmap
from dataclasses import dataclass
from struct import Struct
from typing import Final

FREE: Final = 0
STARTING: Final = 1
IDLE: Final = 2
BUSY: Final = 3

_ROW: Final = 512
_OWN: Final = Struct("=QdQ480s")  # what the child writes: state, since, requests, line
_FIELDS: Final = Struct("=QdQ480sQ")
_STATE, _SINCE, _MEMORY = 0, 1, _ROW // 8 - 1  # as words of eight bytes
assert _FIELDS.size == _ROW

_pack_own: Final = _OWN.pack_into


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

    __slots__ = ("_at", "_memory", "_requests", "_state", "_words")

    def __init__(self, memory: mmap.mmap, row: int) -> None:
        self._memory = memory
        self._at = row * _ROW
        self._words = memoryview(memory).cast("Q")
        self._state = row * _ROW // 8 + _STATE
        self._requests = 0

    def starting(self, now: float) -> None:
        """A new child has this row now."""
        _FIELDS.pack_into(self._memory, self._at, STARTING, now, 0, b"", 0)

    def begin(self, line: bytes, now: float) -> int:
        """A request begins; return its number, from 1. A long `line` is cut off."""
        self._requests = number = self._requests + 1
        _pack_own(self._memory, self._at, BUSY, now, number, line)
        return number

    def idle(self) -> None:
        """The child waits for a request."""
        self._words[self._state] = IDLE


class Scoreboard:
    """The rows of one pool; `rows` must be at least one."""

    def __init__(self, rows: int) -> None:
        # Anonymous shared memory: every process forked from here sees the same bytes.
        self._memory = mmap.mmap(-1, rows * _ROW)
        self._words = memoryview(self._memory).cast("Q")
        self._times = memoryview(self._memory).cast("d")
        self._count = rows

    def __len__(self) -> int:
        return self._count

    def mark(self, row: int) -> Mark:
        """Return the writer of a row."""
        return Mark(self._memory, row)

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
        state, since, requests, line, memory = _FIELDS.unpack_from(self._memory, row * _ROW)
        return Row(state, since, requests, memory, line.rstrip(b"\0").decode("latin-1"))
