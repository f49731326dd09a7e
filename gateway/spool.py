"""Temporary files for bodies that do not fit in memory, and a bound on the space they take.

Files are unnamed (TMPDIR decides where), so nothing is left behind however the process ends.
"""

import tempfile
from typing import IO, Final

HIGH: Final = 65536
"""High-water mark: bytes kept in memory in one direction; more means a file or back-pressure."""


class SpoolFull(OSError):
    """All temporary files together have reached their limit."""


class SpoolSpace:
    """The bytes that all temporary files of this process may take, and those taken."""

    __slots__ = ("limit", "taken")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0


class Spool:
    """A queue of bytes in an unnamed temporary file.

    The constructor and `append` raise OSError if the space, the disk or descriptors run out; the
    bytes of a failed `append` are not in the queue.
    """

    __slots__ = ("_file", "_space", "read_at", "size")

    def __init__(self, space: SpoolSpace) -> None:
        self._space = space
        # Unbuffered: a write that fails fails now, not at the next flush or close.
        self._file: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115 - closed by `close`
            prefix="chain-gateway-", buffering=0
        )
        self.size = 0
        self.read_at = 0

    def append(self, data: bytes | bytearray) -> None:
        """Add `data` at the end."""
        if self._space.taken + len(data) > self._space.limit:
            raise SpoolFull(f"temporary files have reached {self._space.limit} bytes")
        view = memoryview(data)
        self._file.seek(self.size)
        while view:  # a short write is followed by the error that caused it
            view = view[self._file.write(view) :]
        self.size += len(data)
        self._space.taken += len(data)

    def take(self, count: int) -> bytes:
        """Return and remove up to `count` bytes from the front."""
        self._file.seek(self.read_at)
        data = self._file.read(min(count, self.size - self.read_at))
        self.read_at += len(data)
        return data

    @property
    def left(self) -> int:
        """The bytes not yet taken."""
        return self.size - self.read_at

    def rewind(self) -> None:
        """Make every byte available again."""
        self.read_at = 0

    def clear(self) -> None:
        """Drop all bytes and give back their space."""
        self._space.taken -= self.size
        self.size = self.read_at = 0
        self._file.truncate(0)

    def close(self) -> None:
        """Delete the file and give back its space."""
        if not self._file.closed:
            self._space.taken -= self.size
            self._file.close()
