"""The record layer: eight bytes of header, content, padding (section 3.3).

Every message of the protocol is a record: version, type, request id, content length, padding
length, one reserved byte. A reader that waits for whole records holds up to 64 KiB per connection
and copies a slowly arriving record again and again. `RecordReader` returns content in the fragments
in which it arrives and so holds only a header; in return, its users must handle partial records.

Plain integers instead of an enum: they are compared several times per request.
"""

import enum
from struct import Struct
from typing import Final, Literal

VERSION: Final = 1
HEADER_LENGTH: Final = 8
MAX_CONTENT: Final = 65528
"""Maximum content of the records we send: the largest multiple of eight, so that only the last
record of a stream needs padding (the format allows 65535 bytes)."""

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

read_header: Final = HEADER.unpack_from
_PADDING: Final = tuple(bytes(length) for length in range(8))


class ProtocolError(Exception):
    """The peer or the caller broke the protocol; the connection is unusable."""


class NeedData(enum.Enum):
    """The type of NEED_DATA: no event until more bytes arrive."""

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
    """Return `data` of any length as stream records; no record for b"", which would end it."""
    if 0 < len(data) <= MAX_CONTENT:
        return encode_record(record_type, request_id, data)
    return b"".join(
        encode_record(record_type, request_id, data[at : at + MAX_CONTENT])
        for at in range(0, len(data), MAX_CONTENT)
    )


Record = tuple[int, int, bytes, bool]
"""Type, request id, content, and whether the record ends with this content."""


class RecordReader:
    """Splits a byte stream into records, or into fragments of an incomplete record.

    `cut` splits everything received in one pass: a request arrives as four records in one read, and
    a call per record would cost more than the splitting. Users pop `records` until the list is
    empty, then call `cut`.
    """

    __slots__ = ("_buffer", "_id", "_left", "_padding", "_type", "records")

    def __init__(self) -> None:
        self.records: list[
            Record
        ] = []  # split and not yet taken, in reverse: pop() returns the next
        self._buffer = b""  # received and not yet split
        self._type = 0
        self._id = 0
        self._left = 0  # content bytes of the current record still to come
        self._padding = 0  # padding bytes still to skip

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer, in any fragmentation."""
        self._buffer = self._buffer + data if self._buffer else data

    @property
    def between_records(self) -> bool:
        """True if everything received has been taken and no record is incomplete."""
        return not (self.records or self._buffer or self._left or self._padding)

    def cut(self) -> bool:
        """Refill the empty list `records`; return False if there is nothing to add.

        Raises ProtocolError at the first byte of a record of another version.
        """
        if not self._buffer:
            return False
        buffer, at, records = self._buffer, 0, self.records
        end = len(buffer)
        if self._left or self._padding:
            at = self._cut_rest()
        while at + HEADER_LENGTH <= end:
            version, record_type, request_id, length, padding = read_header(buffer, at)
            if version != VERSION:
                break
            at += HEADER_LENGTH
            content = buffer[at : at + length]
            at += length + padding
            if at <= end:  # the common case: the record is complete
                records.append((record_type, request_id, content, True))
                continue
            self._type, self._id = record_type, request_id
            self._left = length - len(content)
            self._padding = min(padding, at - end)
            if content or not self._left:
                records.append((record_type, request_id, content, not self._left))
            at = end
        self._buffer = buffer[at:]
        records.reverse()
        if not records and self._buffer and self._buffer[0] != VERSION:
            raise ProtocolError(f"FastCGI version {self._buffer[0]}, not {VERSION}")
        return bool(records)

    def _cut_rest(self) -> int:
        """Continue an incomplete record; return how many bytes of the buffer it took."""
        content = self._buffer[: self._left]
        self._left -= len(content)
        if content:
            self.records.append((self._type, self._id, content, not self._left))
        padding = min(self._padding, len(self._buffer) - len(content))
        self._padding -= padding
        return len(content) + padding
