"""Where a message's content ends (RFC 9112 section 6): a length, chunks, or the close.

`measure` decides from the head, and rejects the patterns of request smuggling: two framings at
once, several lengths, a length that is not a plain number, chunked not last or repeated. A reader
then takes bytes from the front of the connection's buffer:

    take(buffer) -> (content, bytes used, finished)

and is called again when more bytes arrive. A reader keeps no bytes of its own: everything waiting
is in one buffer, whose size controls backpressure.
"""

import re
from typing import Final, Protocol, TypeAlias

from chainlab.wire.http1.errors import RemoteProtocolError
from chainlab.wire.http1.fields import STRAY, TOKEN, Fields, parse_fields, values
from chainlab.wire.http1.limits import Limits

_LENGTH: Final = re.compile(rb"0*([0-9]{1,18})")
_TOO_LONG: Final = re.compile(rb"[0-9]+")
_CODING: Final = re.compile(TOKEN)
_CHUNK_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})"
    rb"(?:[ \t]*;[ \t]*" + TOKEN + rb"(?:[ \t]*=[ \t]*"
    rb"(?:"
    + TOKEN
    + rb'|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"))?)*'
)
_NOT_IN_TRAILERS: Final = frozenset((b"content-length", b"transfer-encoding", b"host"))

Taken: TypeAlias = tuple[bytes, int, bool]
Buffer: TypeAlias = bytes | bytearray


def measure(fields: Fields, minor: int) -> tuple[int | None, bool]:
    """Return (Content-Length or None, chunked) of a head; RemoteProtocolError 400 or 501."""
    lengths = values(fields, b"content-length")
    codings = values(fields, b"transfer-encoding")
    if codings:
        if lengths:
            raise RemoteProtocolError(400, "both Content-Length and Transfer-Encoding")
        if minor == 0:
            raise RemoteProtocolError(400, "Transfer-Encoding in HTTP/1.0")
        _require_chunked(codings)
        return None, True
    if not lengths:
        return None, False
    if len(lengths) > 1:
        raise RemoteProtocolError(400, "more than one Content-Length")
    length = _LENGTH.fullmatch(lengths[0])
    if length:
        return int(length[1]), False
    if _TOO_LONG.fullmatch(lengths[0]):
        raise RemoteProtocolError(413, "a Content-Length of more than 18 digits")
    raise RemoteProtocolError(400, f"a malformed Content-Length: {lengths[0][:40]!r}")


def _require_chunked(lines: list[bytes]) -> None:
    codings = [item.strip(b" \t").lower() for line in lines for item in line.split(b",")]
    if codings == [b"chunked"]:
        return
    if b"chunked" in codings[:-1]:
        raise RemoteProtocolError(400, "chunked is not the last transfer coding, or is repeated")
    for coding in codings:
        if not _CODING.fullmatch(coding.partition(b";")[0].rstrip(b" \t")):
            raise RemoteProtocolError(400, f"a malformed Transfer-Encoding: {coding[:40]!r}")
    raise RemoteProtocolError(501, f"an unknown transfer coding: {codings[0][:40]!r}")


class Reader(Protocol):
    """The common interface of the readers below."""

    trailers: Fields

    def take(self, buffer: Buffer) -> Taken:
        """Return (content, bytes used, finished) from the front of `buffer`."""

    def eof(self) -> bool:
        """Return True if the message may end with a close by the peer."""


class LengthReader:
    """Content of a known length, in bytes."""

    __slots__ = ("_left",)
    trailers: Fields = ()

    def __init__(self, length: int) -> None:
        self._left = length

    def take(self, buffer: Buffer) -> Taken:
        """Return the content at hand, up to the length."""
        data = bytes(buffer[: self._left] if len(buffer) > self._left else buffer)
        self._left -= len(data)
        return data, len(data), not self._left

    def eof(self) -> bool:
        """Return False: the content is incomplete."""
        return False


class CloseReader:
    """Content that ends when the peer closes: responses only (RFC 9112 section 6.3, rule 8)."""

    __slots__ = ()
    trailers: Fields = ()

    def take(self, buffer: Buffer) -> Taken:
        """Return the whole buffer."""
        return bytes(buffer), len(buffer), False

    def eof(self) -> bool:
        """Return True: the close ends the content."""
        return True


class ChunkedReader:
    """Chunks (RFC 9112 section 7.1): size line, data, CRLF; a zero size, trailers, an empty line.

    Limits: `chunk_line` for size and extensions, `trailer_block` and `fields` for the trailers,
    `body` for the content of all chunks together, and `chunk_overhead` for their framing.

    A chunk of one byte costs as much as one of 64 KiB, and an extension may be as long as the size
    line. So the framing may be twice the content plus `chunk_overhead` (Go's answer to
    CVE-2023-39326 is similar): small chunks now and then are fine, nothing but tiny ones is not.
    """

    __slots__ = ("_excess", "_in_trailers", "_left", "_limits", "_most", "_total", "trailers")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most = limits.body
        self._excess = 0  # bytes of framing beyond twice the content
        self._left = 0  # missing bytes of the current chunk, including its CRLF
        self._total = 0
        self._in_trailers = False
        self.trailers: Fields = ()

    def take(self, buffer: Buffer) -> Taken:
        """Return the joined content of all chunks at hand."""
        pieces: list[bytes] = []
        at = 0
        while not self._in_trailers:
            if not self._left:
                end = self._read_size(buffer, at)
                if end < 0:
                    return b"".join(pieces), at, False
                at = end
                continue
            used = self._take_piece(buffer, at, pieces)
            at += used
            if not used or self._left:
                return b"".join(pieces), at, False
        used = self._take_trailers(bytes(buffer[at:]))
        return b"".join(pieces), at + used, used > 0

    def limit(self, most: int) -> None:
        """Allow content of `most` bytes, instead of `Limits.body`."""
        self._most = most

    def eof(self) -> bool:
        """Return False: the last chunk is missing."""
        return False

    def _read_size(self, buffer: Buffer, at: int) -> int:
        """Read a size line; return where it ends, or -1 if it is incomplete."""
        limit = self._limits.chunk_line
        end = buffer.find(b"\r\n", at, at + limit + 2)
        if end < 0:
            if len(buffer) - at > limit:
                raise RemoteProtocolError(400, f"a chunk line longer than {limit} bytes")
            if STRAY.search(buffer, at):
                raise RemoteProtocolError(400, "a bare CR, LF or NUL in a chunk line")
            return -1
        line = _CHUNK_LINE.fullmatch(buffer, at, end)
        if not line:
            raise RemoteProtocolError(400, f"a bad chunk size: {bytes(buffer[at:end])[:40]!r}")
        size = int(line[1], 16)
        self._total += size
        if self._most is not None and self._total > self._most:
            raise RemoteProtocolError(413, f"a body longer than {self._most} bytes")
        self._count_overhead(end + 4 - at - 2 * size)
        if size:
            self._left = size + 2
        else:
            self._in_trailers = True
        return end + 2

    def _count_overhead(self, excess: int) -> None:
        self._excess = max(0, self._excess + excess)
        limit = self._limits.chunk_overhead
        if limit is not None and self._excess > limit:
            raise RemoteProtocolError(400, "too many tiny chunks or long chunk extensions")

    def _take_piece(self, buffer: Buffer, at: int, pieces: list[bytes]) -> int:
        """Take content and the CRLF after it; return the bytes used."""
        here = len(buffer) - at
        content = min(self._left - 2, here) if self._left > 2 else 0
        if content:
            pieces.append(bytes(buffer[at : at + content]))
            self._left -= content
        if self._left > 2:
            return content
        ending = bytes(buffer[at + content : at + content + 2])
        if not b"\r\n".startswith(ending):
            raise RemoteProtocolError(400, "chunk data longer than its size")
        if len(ending) < 2:
            return content
        self._left = 0
        return content + 2

    def _take_trailers(self, rest: bytes) -> int:
        """Read the trailers and the empty line; return the bytes used, or 0 if incomplete."""
        if rest[:2] == b"\r\n":
            return 2
        limit = self._limits.trailer_block
        end = rest.find(b"\r\n\r\n", 0, limit + 4)
        if end < 0:
            if len(rest) > limit:
                raise RemoteProtocolError(431, f"trailers longer than {limit} bytes")
            if STRAY.search(rest):
                raise RemoteProtocolError(400, "a bare CR, LF or NUL in the trailers")
            return 0
        self.trailers = parse_fields(rest[: end + 2], self._limits.fields)
        for name, _ in self.trailers:
            if name in _NOT_IN_TRAILERS:
                raise RemoteProtocolError(400, f"{name.decode()} in the trailers")
        return end + 4
