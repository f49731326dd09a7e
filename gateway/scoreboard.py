"""The state of every process, in shared memory; served as JSON at `status_path`.

Each process writes only its own row, so no lock is needed. `generation` counts configurations:
once every row shows the new one and no process is draining, the old configuration's backends can
stop without failing a request.
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
        """Set a row; pid 0 removes the row from the board."""
        values = (pid, generation, active, connections, requests, draining)
        _ROW.pack_into(self._memory, row * _ROW.size, *values)

    def as_json(self) -> bytes:
        """Return the board as JSON; `generation` is the latest that every process has reached."""
        names = ("pid", "generation", "active", "connections", "requests", "draining")
        rows = [_ROW.unpack_from(self._memory, row * _ROW.size) for row in range(ROWS)]
        processes = [dict(zip(names, row, strict=True)) for row in rows if row[0]]
        generation = min((process["generation"] for process in processes), default=0)
        return json.dumps({"generation": generation, "processes": processes}).encode() + b"\n"
