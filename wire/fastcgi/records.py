"""The record layer: eight bytes of header, content, padding (section 3.3).

Every message of the protocol is a record: version, type, request id, content length, padding
length, one reserved byte. A reader that waits for whole records holds up to 64 KiB for each
connection and copies a slowly arriving record again and again; `RecordReader` hands content on
in the fragments in which it comes and so holds no more than a header. The price is that its
users must be ready for a record in pieces.

Plain integers instead of an enum: they are compared several times per request.
"""

import enum
from struct import Struct
from typing import Final, Literal

VERSION: Final = 1
HEADER_LENGTH: Final = 8
MAX_CONTENT: Final = 65528
"""Bytes of content we put into one record: the largest multiple of eight, so that only the last
record of a stream needs padding (the format's own limit is 65535)."""

# Record types (section 8).
BEGIN_REQUEST: Final = 1
ABORT_REQUEST: Final = 2
END_REQUEST: Final = 3
PARAMS: Final = 4
STDIN: Final = 5
STDOUT: Final = 6
STDERR: Final = 7
DATA: Final = 8
GET_VALUES: Final = 9
GET_VALUES_RESULT: Final = 10
UNKNOWN_TYPE: Final = 11

# Roles and flags of BEGIN_REQUEST (section 5.1).
RESPONDER: Final = 1
AUTHORIZER: Final = 2
FILTER: Final = 3
KEEP_CONN: Final = 1

# Protocol statuses of END_REQUEST (section 5.5).
REQUEST_COMPLETE: Final = 0
CANT_MPX_CONN: Final = 1
OVERLOADED: Final = 2
UNKNOWN_ROLE: Final = 3

# Variables of GET_VALUES (section 4.1).
MAX_CONNS: Final = "FCGI_MAX_CONNS"
MAX_REQS: Final = "FCGI_MAX_REQS"
MPXS_CONNS: Final = "FCGI_MPXS_CONNS"

HEADER: Final = Struct(">BBHHBx")
BEGIN_BODY: Final = Struct(">HB5x")
END_BODY: Final = Struct(">IB3x")

_PADDING: Final = tuple(bytes(length) for length in range(8))


class ProtocolError(Exception):
    """The peer broke the protocol, or we were asked to: the connection cannot go on."""


class NeedData(enum.Enum):
    """The one value that says: no event before more bytes arrive."""

    NEED_DATA = enum.auto()


NEED_DATA: Final[Literal[NeedData.NEED_DATA]] = NeedData.NEED_DATA


def encode_record(record_type: int, request_id: int, content: bytes = b"") -> bytes:
    """Return one record, padded to eight bytes; `content` is at most 65535 bytes."""
    length = len(content)
    padding = -length & 7
    return (
        HEADER.pack(VERSION, record_type, request_id, length, padding) + content + _PADDING[padding]
    )


def encode_stream(record_type: int, request_id: int, data: bytes) -> bytes:
    """Return `data` of any length as records of a stream; none for b"", which would end it."""
    if 0 < len(data) <= MAX_CONTENT:
        return encode_record(record_type, request_id, data)
    return b"".join(
        encode_record(record_type, request_id, data[at : at + MAX_CONTENT])
        for at in range(0, len(data), MAX_CONTENT)
    )


class RecordReader:
    """Cuts a byte stream into records, or into fragments of a record that is still arriving."""

    __slots__ = ("_at", "_buffer", "_id", "_left", "_padding", "_type")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._type = 0
        self._id = 0
        self._left = 0  # content bytes of the current record still to come
        self._padding = 0  # padding bytes still to be passed over

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they came from the peer."""
        if self._at >= len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._at :] + data
        self._at = 0

    @property
    def between_records(self) -> bool:
        """Whether all that was received has been read, and no record is half there."""
        return self._at >= len(self._buffer) and not self._left and not self._padding

    def read(self) -> tuple[int, int, bytes, bool] | None:
        """Return (type, request id, content, whether the record ends with it), or None for more.

        A wrong version raises ProtocolError, before any of the record is looked at.
        """
        buffer, at = self._buffer, self._at
        if self._left:
            return self._read_content()
        if self._padding:
            skipped = min(self._padding, len(buffer) - at)
            self._padding -= skipped
            self._at = at = at + skipped
        if len(buffer) - at < HEADER_LENGTH:
            if self._at < len(buffer) and not self._padding and buffer[at] != VERSION:
                raise ProtocolError(f"FastCGI version {buffer[at]}, not {VERSION}")
            return None
        version, record_type, request_id, length, padding = HEADER.unpack_from(buffer, at)
        if version != VERSION:
            raise ProtocolError(f"FastCGI version {version}, not {VERSION}")
        start = at + HEADER_LENGTH
        end = start + length
        if end + padding <= len(buffer):  # the usual case: all of the record is here
            self._at = end + padding
            return record_type, request_id, buffer[start:end], True
        self._at = start
        self._type, self._id, self._left, self._padding = record_type, request_id, length, padding
        if length:
            return self._read_content()
        return record_type, request_id, b"", True

    def _read_content(self) -> tuple[int, int, bytes, bool] | None:
        content = self._buffer[self._at : self._at + self._left]
        if not content:
            return None
        self._at += len(content)
        self._left -= len(content)
        return self._type, self._id, content, not self._left
