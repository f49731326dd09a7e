"""A request's content on its way from the client to the upstream, in bounded memory.

Streamed: what has come and not gone is at most 64 KiB; `full` asks the client's side to pause.
Spooled: a FastCGI application is told CONTENT_LENGTH before the content (RFC 3875 section
4.1.2), and chunks do not know theirs; so chunked content is collected first, in memory up to
64 KiB, beyond that in a temporary file that has no name (nginx: client_body_temp).
"""

import tempfile
from typing import IO, Final

HIGH: Final = 65536
"""Bytes that may wait in one direction before its source is paused."""


class Body:
    """Bytes in by `append` and `finish`, out by `take`."""

    __slots__ = ("_file", "_memory", "_spooled", "_taken", "_whole", "complete", "size")

    def __init__(self, *, spooled: bool) -> None:
        self._spooled = spooled
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._taken = 0
        self._whole: bytes | None = None  # all of it, when it went in one piece
        self.size = 0
        self.complete = False

    @property
    def full(self) -> bool:
        """Whether the client is to be paused until some is taken."""
        return len(self._memory) >= HIGH and not self._spooled

    @property
    def ready(self) -> bool:
        """Whether an upstream may be asked now: spooled content must be here whole."""
        return self.complete or not self._spooled

    @property
    def drained(self) -> bool:
        """Whether all of it has been taken."""
        return self.complete and self._taken == self.size

    def append(self, data: bytes) -> None:
        """Take bytes from the client."""
        self.size += len(data)
        if self._file is None and self._spooled and len(self._memory) + len(data) > HIGH:
            self._file = tempfile.TemporaryFile(prefix="chain-gateway-")  # noqa: SIM115
            self._file.write(self._memory)
            self._memory.clear()
        if self._file is not None:
            self._file.write(data)
        else:
            self._memory += data

    def finish(self) -> None:
        """Note that the content is complete."""
        self.complete = True
        if self._file is not None:
            self._file.seek(0)

    def take(self) -> bytes:
        """Return the next piece, at most what waits in memory or 64 KiB of the file."""
        if self._file is not None:
            data = self._file.read(HIGH)
        else:
            data = bytes(self._memory)
            self._memory.clear()
            if self.complete and not self._taken:
                self._whole = data
        self._taken += len(data)
        return data

    def take_whole(self) -> bytes | None:
        """Return all of it when it is here and in memory; None when it must go in pieces."""
        return self.take() if self.complete and self._file is None and not self._taken else None

    def rewind(self) -> bool:
        """Begin again for another try; False when what was taken is not here any more."""
        if not self._taken:
            return True
        if self._file is not None:
            self._file.seek(0)
        elif self._whole is not None:
            self._memory[:] = self._whole
        else:
            return False
        self._taken = 0
        return True

    def close(self) -> None:
        """Free the file."""
        if self._file is not None:
            self._file.close()
