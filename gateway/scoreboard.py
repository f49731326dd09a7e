"""What every process does, in memory that all share; shown as JSON at `status_path`.

A row for each process, written by that process alone, so nobody waits for a lock. `generation`
counts configurations: once every row shows it, and nobody drains, the old configuration's
back ends can be stopped without a request failing.
"""

import json
import mmap
import struct
from typing import Final

_ROW: Final = struct.Struct("=QQQQQQ")
ROWS: Final = 512


class Scoreboard:
    """Rows of (pid, generation, active, connections, requests, draining)."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _ROW.size * ROWS)

    def write(
        self,
        row: int,
        pid: int,
        generation: int,
        active: int = 0,
        connections: int = 0,
        requests: int = 0,
        draining: int = 0,
    ) -> None:
        """Set a row; a pid of 0 takes it off the board."""
        values = (pid, generation, active, connections, requests, draining)
        _ROW.pack_into(self._memory, row * _ROW.size, *values)

    def as_json(self) -> bytes:
        """Return the board; `generation` is the newest that all processes serve."""
        names = ("pid", "generation", "active", "connections", "requests", "draining")
        rows = [_ROW.unpack_from(self._memory, row * _ROW.size) for row in range(ROWS)]
        processes = [dict(zip(names, row, strict=True)) for row in rows if row[0]]
        generation = min((process["generation"] for process in processes), default=0)
        return json.dumps({"generation": generation, "processes": processes}).encode() + b"\n"
