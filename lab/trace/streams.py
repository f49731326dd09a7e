"""The bytes of each direction of each connection, and who carried which of them.

There are up to three witnesses of the same bytes: the packets, the writer's system calls, the
reader's. What is decoded are the packets' bytes, where there are any, else the writer's, else the
reader's (a writer by io_uring on a unix socket leaves no other trace).
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.trace.model import Call, Packet, Side, other

Key = tuple[int, Side]
"""A connection's number and who sent."""


@dataclass(slots=True)
class Stream:
    """One direction as one witness saw it: pieces by offset, each with when and by what."""

    offsets: list[int] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    carriers: list[Packet | Call] = field(default_factory=list)

    def add(self, offset: int, data: bytes, carrier: Packet | Call) -> None:
        """Take a piece; one that was there before (sent again) is left out."""
        if self.offsets and offset < self.offsets[-1] + len(self.pieces[-1]):
            return
        self.offsets.append(offset)
        self.pieces.append(data)
        self.carriers.append(carrier)

    def content(self) -> bytes:
        """Return the bytes, zeros where some are missing."""
        data = bytearray()
        for offset, piece in zip(self.offsets, self.pieces, strict=True):
            data += bytes(offset - len(data)) + piece
        return bytes(data)

    def carrier(self, offset: int) -> Packet | Call | None:
        """Return what carried the byte at `offset`; None when nothing that was seen did."""
        at = bisect_right(self.offsets, offset) - 1
        if at < 0 or offset >= self.offsets[at] + len(self.pieces[at]):
            return None
        return self.carriers[at]


@dataclass(slots=True)
class Streams:
    """What each witness saw, by connection and sender."""

    packets: dict[Key, Stream]
    writes: dict[Key, Stream]
    reads: dict[Key, Stream]

    def best(self, key: Key) -> Stream | None:
        """Return the witness to decode."""
        for witness in (self.packets, self.writes, self.reads):
            if key in witness:
                return witness[key]
        return None

    def sent(self, key: Key, offset: int) -> Packet | Call | None:
        """Return what brought a byte to its receiver: a packet, else the writer's call."""
        for witness in (self.packets, self.writes):
            if key in witness:
                return witness[key].carrier(offset)
        return None


def gather(packets: Iterable[Packet], calls: Iterable[Call]) -> Streams:
    """Return all streams; each call learns the offset of its bytes."""
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
        witness = streams.writes if call.role == "write" else streams.reads
        witness[key].add(call.offset, call.data, call)
    return Streams(dict(streams.packets), dict(streams.writes), dict(streams.reads))
