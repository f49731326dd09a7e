"""Response bytes that the client's socket has not accepted yet.

The first 64 KiB stay in memory. If the response may be buffered, the rest goes to a temporary file
(nginx: fastcgi_buffering, fastcgi_max_temp_file_size), so that a slow client does not occupy an
upstream connection. If not, or if the file has reached its limit or cannot be written, `full`
pauses the upstream until the client catches up: nothing fails.
"""

from gateway.spool import HIGH, Spool, SpoolSpace


class Outbox:
    """A byte queue: `append` fills it, `front` and `drop` empty it."""

    __slots__ = ("_space", "_spool", "_stuck", "_tail", "limit", "memory")

    def __init__(self, space: SpoolSpace) -> None:
        self._space = space
        self.memory = bytearray()  # the front of the queue; empty only if all is sent
        self._spool: Spool | None = None  # what follows it
        self._tail = bytearray()  # what the file could not take
        self._stuck = False  # the file cannot take more until it is empty
        self.limit = 0  # bytes that this response may put in a file; 0: pause the upstream instead

    @property
    def full(self) -> bool:
        """True if the upstream should pause."""
        if self._tail:
            return True
        if self.limit and not self._stuck:
            return self._spool is not None and self._spool.size >= self.limit
        return len(self.memory) >= HIGH

    def append(self, data: bytes) -> None:
        """Queue `data`: in memory, in the file, or in memory again if the file cannot take it."""
        if self._spool is None or not self._spool.left:
            unlimited = self._stuck or not self.limit
            room = len(data) if unlimited else max(0, HIGH - len(self.memory))
            self.memory += data[:room]
            data = data[room:]
        if data and (self._stuck or not self._write(data)):
            self._tail += data

    def _write(self, data: bytes) -> bool:
        try:
            if self._spool is None:
                self._spool = Spool(self._space)
            self._spool.append(data)
        except OSError:
            self._stuck = True
            return False
        return True

    def front(self) -> bytes:
        """Return the next bytes to send, at most 64 KiB."""
        return bytes(self.memory[:HIGH])

    def drop(self, count: int) -> None:
        """Remove the first `count` bytes: they are sent."""
        del self.memory[:count]
        spool = self._spool
        if spool is not None and len(self.memory) < HIGH and spool.size:
            self.memory += spool.take(HIGH)
            if not spool.left:
                spool.clear()
        if not (spool is not None and spool.left):
            self.memory += self._tail
            self._tail.clear()
            self._stuck = False

    def clear(self) -> None:
        """Drop everything and delete the file."""
        self.memory.clear()
        self._tail.clear()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
