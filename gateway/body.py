"""Buffers a request body between client and upstream, in bounded memory.

Streamed: at most 64 KiB is buffered; `full` tells the client side to pause reading.
Buffered: the request goes to the upstream once its whole body is here, so that a slow client never
occupies an upstream connection: up to 64 KiB in memory, more in a temporary file (nginx:
fastcgi_request_buffering). A chunked body for FastCGI is always buffered, because CONTENT_LENGTH
precedes the body (RFC 3875 section 4.1.2).
"""

from gateway.spool import HIGH, Spool, SpoolSpace


class Body:
    """A byte queue: `append` and `finish` fill it, `take` empties it."""

    __slots__ = ("_buffered", "_memory", "_space", "_spool", "_taken", "_whole", "complete", "size")

    def __init__(self, space: SpoolSpace, *, buffered: bool) -> None:
        self._space = space
        self._buffered = buffered
        self._memory = bytearray()
        self._spool: Spool | None = None
        self._taken = 0
        # The whole body, if one `take` returned it, so that `rewind` can replay it.
        self._whole: bytes | None = None
        self.size = 0
        self.complete = False

    @property
    def full(self) -> bool:
        """True if the gateway should stop reading from the client until `take` makes room."""
        return len(self._memory) >= HIGH and not self._buffered

    @property
    def ready(self) -> bool:
        """True if the request can go to an upstream; a buffered body must be complete first."""
        return self.complete or not self._buffered

    @property
    def drained(self) -> bool:
        """True if the body is complete and `take` has returned every byte."""
        return self.complete and self._taken == self.size

    def append(self, data: bytes) -> None:
        """Buffer bytes from the client; OSError if they fit neither in memory nor on disk."""
        if self._spool is None and self._buffered and len(self._memory) + len(data) > HIGH:
            self._spool = Spool(self._space)
            self._spool.append(self._memory)
            self._memory.clear()
        if self._spool is not None:
            self._spool.append(data)
        else:
            self._memory += data
        self.size += len(data)

    def finish(self) -> None:
        """Mark the body as complete."""
        self.complete = True

    def take(self) -> bytes:
        """Return the next piece: everything in memory, or up to 64 KiB from the file."""
        if self._spool is not None:
            data = self._spool.take(HIGH)
        else:
            data = bytes(self._memory)
            self._memory.clear()
            if self.complete and not self._taken:
                self._whole = data
        self._taken += len(data)
        return data

    def take_whole(self) -> bytes | None:
        """Return the whole body if it is complete and in memory, otherwise None."""
        return self.take() if self.complete and self._spool is None and not self._taken else None

    def rewind(self) -> bool:
        """Reset to the first byte for a retry; return False if earlier pieces are gone."""
        if not self._taken:
            return True
        if self._spool is not None:
            self._spool.rewind()
        elif self._whole is not None:
            self._memory[:] = self._whole
        else:
            return False
        self._taken = 0
        return True

    def close(self) -> None:
        """Delete the temporary file, if any."""
        if self._spool is not None:
            self._spool.close()
