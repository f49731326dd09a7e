"""Request content as raw streams that end where the content does (RFC 9112 sections 6 and 7.1).

wsgiref hands the application its socket: reading past the content blocks, waiting for a request
that never comes. These streams stop at the end. If the client disconnects or breaks the framing,
they raise ConnectionAbortedError, which wsgiref ignores silently.
"""

import io
from typing import BinaryIO, Final

_LINE: Final = 4096  # bytes of a chunk's size line, extensions included, or of a trailer
_TRAILERS: Final = 100


class LengthBody(io.RawIOBase):
    """Content of a length known from the head."""

    def __init__(self, stream: BinaryIO | io.BufferedIOBase, length: int) -> None:
        self._stream = stream
        self._left = length

    @property
    def ended(self) -> bool:
        """Whether all of it has been read."""
        return not self._left

    def readable(self) -> bool:
        """Whether read works: always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # always a memoryview
        """Fill `buffer`; 0 at the end."""
        data = _read(self._stream, min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


class ChunkedBody(io.RawIOBase):
    """Content in chunks; what is read is their data."""

    def __init__(self, stream: BinaryIO | io.BufferedIOBase) -> None:
        self._stream = stream
        self._left = 0  # of the chunk at hand
        self.ended = False

    def readable(self) -> bool:
        """Whether read works: always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # always a memoryview
        """Fill `buffer` from one chunk; 0 at the end."""
        if not self._left and not self.ended:
            self._begin_chunk()
        data = _read(self._stream, min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        if data and not self._left and self._line():
            raise ConnectionAbortedError("a chunk is longer than its size")
        return len(data)

    def _begin_chunk(self) -> None:
        digits = self._line().partition(b";")[0].strip(b" \t")
        if not digits or len(digits) > 16 or digits.strip(b"0123456789abcdefABCDEF"):
            raise ConnectionAbortedError("a chunk without a size")
        self._left = int(digits, 16)
        if not self._left:
            self._skip_trailers()
            self.ended = True

    def _skip_trailers(self) -> None:
        for _ in range(_TRAILERS):
            if not self._line():
                return
        raise ConnectionAbortedError("too many trailers")

    def _line(self) -> bytes:
        line = self._stream.readline(_LINE)
        if not line.endswith(b"\r\n"):
            raise ConnectionAbortedError("a chunk's line is not ended by CRLF")
        return line[:-2]


def _read(stream: BinaryIO | io.BufferedIOBase, size: int) -> bytes:
    if not size:
        return b""
    try:
        data = stream.read1(size) if isinstance(stream, io.BufferedIOBase) else stream.read(size)
    except TimeoutError:
        raise ConnectionAbortedError("the client fell silent in its content") from None
    if not data:
        raise ConnectionAbortedError("the client broke off its content")
    return data
