"""Do the clocks of the sources agree? Each source gives moments that another must contain.

A segment leaves after its writer's call was entered, and arrives before the call that returns its
bytes has ended. So its time, shifted by a skew that is the same for all, must lie between the two;
all such pairs together leave a few microseconds for the skew to be in. The client's own clock is
read before and after its calls, which lets it be compared in the same way.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lab.trace.model import Call, Packet, Skew
from lab.trace.streams import Streams

Pair = tuple[int, int, int]
"""Not before, the moment, not after; nanoseconds."""


def compare(
    calls: Sequence[Call],
    packets: Sequence[Packet],
    streams: Streams,
    answers: Sequence[Mapping[str, Any]],
) -> list[Skew]:
    """Return how far each two sources are apart that have anything to compare."""
    of = [
        ("packets and system calls", _packets_in_calls(calls, packets, streams)),
        ("packets and the client", _packets_in_steps(packets, answers)),
        ("system calls and the client", _calls_in_steps(calls, answers)),
    ]
    return [skew for name, pairs in of if (skew := bound(name, list(pairs)))]


def bound(between: str, pairs: Sequence[Pair]) -> Skew | None:
    """Return what may be added to the moments for all of them to lie where they must."""
    if not pairs:
        return None
    low = max(first - moment for first, moment, _ in pairs)
    high = min(last - moment for _, moment, last in pairs)
    return Skew(between, low, high, len(pairs))


def _packets_in_calls(
    calls: Sequence[Call], packets: Sequence[Packet], streams: Streams
) -> Iterator[Pair]:
    for key, stream in streams.packets.items():
        for offset, packet in zip(stream.offsets, stream.carriers, strict=True):
            writer = streams.writes[key].carrier(offset) if key in streams.writes else None
            reader = streams.reads[key].carrier(offset) if key in streams.reads else None
            if isinstance(writer, Call) and isinstance(reader, Call) and reader.latest:
                yield writer.start, packet.time, reader.latest
    syns = {packet.connection.number: packet.time for packet in packets if packet.flags == {"SYN"}}
    for call in calls:
        number = call.connection.number if call.connection else 0
        if call.role == "connect" and number in syns and call.latest:
            yield call.start, syns[number], call.latest


def _packets_in_steps(
    packets: Iterable[Packet], answers: Sequence[Mapping[str, Any]]
) -> Iterator[Pair]:
    """The client's packets with content, one for each request, between sending and the answer."""
    sent = [p for p in packets if p.connection.lanes["client"] == "client" and p.sender == "client"]
    asked = [packet for packet in sent if packet.payload]
    steps = [answer["times"] for answer in answers if "sending" in answer.get("times", {})]
    for packet, times in zip(asked, steps, strict=False):
        yield times["sending"], packet.time, times["first_byte"]


def _calls_in_steps(calls: Iterable[Call], answers: Sequence[Mapping[str, Any]]) -> Iterator[Pair]:
    asked = [
        call for call in calls if call.lane == "client" and call.role == "write" and call.connection
    ]
    steps = [answer["times"] for answer in answers if "sending" in answer.get("times", {})]
    for call, times in zip(asked, steps, strict=False):
        yield times["sending"], call.start, times["sent"]
