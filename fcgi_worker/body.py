"""The body of a request: a stream while it arrives, or collected until it is whole.

An application needs CONTENT_LENGTH: without one, Django and others read nothing. A web server that
passes a chunked upload on as it arrives does not know the length, so the worker collects such a
body first and counts (RFC 3875 section 4.1.2): in memory, then in a file without a name.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable
from typing import BinaryIO, Final

_IN_MEMORY: Final = 1 << 20  # bytes


class NoSpaceError(Exception):
    """A body cannot be collected: no space, or no descriptor."""


class Collected:
    """A body that is collected until its end is known."""

    def __init__(self) -> None:
        self.length = 0
        self._pieces: list[bytes] = []
        self._file: io.FileIO | None = None

    def add(self, piece: bytes) -> None:
        """Add a piece; raises NoSpaceError."""
        self.length += len(piece)
        if self._file is None:
            self._pieces.append(piece)
            if self.length <= _IN_MEMORY:
                return
            piece = b"".join(self._pieces)
            self._pieces.clear()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            where = tempfile.gettempdir()
            raise NoSpaceError(f"cannot collect the body in {where}: {error.strerror}") from None

    def stream(self) -> BinaryIO:
        """Return the body, to be read from its beginning."""
        if self._file is None:
            return io.BytesIO(b"".join(self._pieces))
        self._file.seek(0)
        return io.BufferedReader(self._file)

    def close(self) -> None:
        """Free the memory or the file."""
        self._pieces.clear()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


class Arriving(io.RawIOBase):
    """A body that is read while it arrives, to be wrapped in a BufferedReader.

    `read` returns up to as many bytes as it is told, b"" at the end.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # always a memoryview
        """Fill `buffer` with the next bytes; return their number, 0 at the end of the body."""
        piece = self._read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)
