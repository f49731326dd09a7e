"""Buffers a request body between client and upstream, in bounded memory.

Streamed: at most 64 KiB is buffered; `full` tells the client side to pause reading.
Spooled: FastCGI sends CONTENT_LENGTH before the body (RFC 3875 section 4.1.2), but a chunked body
has no known length. The gateway therefore collects a chunked body first: up to 64 KiB in memory,
more in an unnamed temporary file (nginx: client_body_temp).
"""

import tempfile
from typing import IO, Final

HIGH: Final = 65536
"""High-water mark: bytes buffered in one direction before the gateway pauses the source."""


class Body:
    """A byte queue: `append` and `finish` fill it, `take` empties it."""

    __slots__ = ("_file", "_memory", "_spooled", "_taken", "_whole", "complete", "size")

    def __init__(self, *, spooled: bool) -> None:
        self._spooled = spooled
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._taken = 0
        # The whole body, if one `take` returned it, so that `rewind` can replay it.
        self._whole: bytes | None = None
        self.size = 0
        self.complete = False

    @property
    def full(self) -> bool:
        """True if the gateway should stop reading from the client until `take` makes room."""
        return len(self._memory) >= HIGH and not self._spooled

    @property
    def ready(self) -> bool:
        """True if the request can go to an upstream; a spooled body must be complete first."""
        return self.complete or not self._spooled

    @property
    def drained(self) -> bool:
        """True if the body is complete and `take` has returned every byte."""
        return self.complete and self._taken == self.size

    def append(self, data: bytes) -> None:
        """Buffer bytes from the client."""
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
        """Mark the body as complete."""
        self.complete = True
        if self._file is not None:
            self._file.seek(0)

    def take(self) -> bytes:
        """Return the next piece: everything in memory, or up to 64 KiB from the file."""
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
        """Return the whole body if it is complete and in memory, otherwise None."""
        return self.take() if self.complete and self._file is None and not self._taken else None

    def rewind(self) -> bool:
        """Reset to the first byte for a retry; return False if earlier pieces are gone."""
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
        """Close and delete the temporary file, if any."""
        if self._file is not None:
            self._file.close()
