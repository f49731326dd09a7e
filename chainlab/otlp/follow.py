"""Follow a growing log through rotations, in whole lines.

Rotation renames a log; its writers keep writing to the old file until SIGUSR1 makes them reopen
the path, each in its own time. So the old file is read until no data has arrived for some seconds
after a new file appeared at the path. A file that shrank was truncated in place (copytruncate) and
is read from the start.
"""

import os
import time
from io import BufferedReader
from pathlib import Path
from typing import Final

_LATE: Final = 5.0  # seconds without data after which a rotated file is finished
_BLOCK: Final = 65536  # bytes per read
_LONGEST: Final = 1 << 20  # bytes per line; anything longer is not an access log


class Follower:
    """One log, which need not exist yet.

    With `from_start`, read it from the beginning; else only what is appended from now on.
    """

    def __init__(self, path: Path, *, from_start: bool) -> None:
        self.path = path
        self._file: BufferedReader | None = None
        self._rest = b""  # an incomplete last line
        self._lines: list[str] = []  # read from the file, not yet returned
        self._grew_at = 0.0
        self._open()
        if self._file is not None and not from_start:
            self._file.seek(0, os.SEEK_END)

    def read(self, most: int) -> list[str]:
        """Return up to `most` new lines, without line ends; an empty list if there are none."""
        if self._file is None:
            self._open()
        while self._file is not None and len(self._lines) < most and self._read_on(self._file):
            pass
        taken, self._lines = self._lines[:most], self._lines[most:]
        return taken

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        try:
            self._file = self.path.open("rb")
        except FileNotFoundError:
            return
        self._rest = b""
        self._grew_at = time.monotonic()

    def _read_on(self, file: BufferedReader) -> bool:
        """Read a block, or move on to the next file; False if there is nothing to read now."""
        data = file.read1(_BLOCK)
        if data:
            self._grew_at = time.monotonic()
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines += [line.decode("utf-8", "replace") for line in lines]
            if len(self._rest) > _LONGEST:
                self._rest = b""
            return True
        here = os.fstat(file.fileno())
        if here.st_size < file.tell():  # truncated in place (copytruncate)
            file.seek(0)
            self._rest = b""
            return True
        if time.monotonic() - self._grew_at < _LATE:
            return False
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            return False
        self.close()
        self._open()
        return self._file is not None
