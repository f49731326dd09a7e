"""The bytes of each direction of each connection, and which packet or call carried each byte.

Up to three sources have the same bytes: the packets, the writer's system calls, and the reader's.
Messages are decoded from the first of these that exists. (Only the reader's calls have the bytes
if the writer uses io_uring on a unix socket.)
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.trace.model import Call, Packet, Side, other

Key = tuple[int, Side]
"""A connection's number, and the side that sent."""


@dataclass(slots=True)
class Stream:
    """One direction, as one source saw it: pieces with their offsets and carriers."""

    offsets: list[int] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    carriers: list[Packet | Call] = field(default_factory=list)

    def add(self, offset: int, data: bytes, carrier: Packet | Call) -> None:
        """Add a piece; ignore a retransmission."""
        if self.offsets and offset < self.offsets[-1] + len(self.pieces[-1]):
            return
        self.offsets.append(offset)
        self.pieces.append(data)
        self.carriers.append(carrier)

    def content(self) -> bytes:
        """Return the bytes; missing ones are zeros."""
        data = bytearray()
        for offset, piece in zip(self.offsets, self.pieces, strict=True):
            data += bytes(offset - len(data)) + piece
        return bytes(data)

    def carrier(self, offset: int) -> Packet | Call | None:
        """Return what carried the byte at `offset`; None if nothing seen did."""
        at = bisect_right(self.offsets, offset) - 1
        if at < 0 or offset >= self.offsets[at] + len(self.pieces[at]):
            return None
        return self.carriers[at]


@dataclass(slots=True)
class Streams:
    """What each source saw, by connection and sender."""

    packets: dict[Key, Stream]
    writes: dict[Key, Stream]
    reads: dict[Key, Stream]

    def best(self, key: Key) -> Stream | None:
        """Return the stream to decode: packets, else writes, else reads."""
        for source in (self.packets, self.writes, self.reads):
            if key in source:
                return source[key]
        return None

    def sent(self, key: Key, offset: int) -> Packet | Call | None:
        """Return what delivered a byte to its receiver: a packet, else the writer's call."""
        for source in (self.packets, self.writes):
            if key in source:
                return source[key].carrier(offset)
        return None


def gather(packets: Iterable[Packet], calls: Iterable[Call]) -> Streams:
    """Return all streams; set each call's `offset`."""
    streams = Streams(defaultdict(Stream), defaultdict(Stream), defaultdict(Stream))
    for packet in packets:
        if packet.payload:
            key = packet.connection.number, packet.sender
            streams.packets[key].add(packet.seq, packet.payload, packet)
    moved: dict[tuple[str, Key], int] = defaultdict(int)
    for call in sorted(calls, key=lambda call: call.start):
        if call.connection is None or call.side is None or not call.data:
            continue
        sender = call.side if call.role == "write" else other(call.side)
        key = call.connection.number, sender
        call.offset = moved[call.role, key]
        moved[call.role, key] += len(call.data)
        source = streams.writes if call.role == "write" else streams.reads
        source[key].add(call.offset, call.data, call)
    return Streams(dict(streams.packets), dict(streams.writes), dict(streams.reads))
