"""Check that the sources' clocks agree: times of one source must lie between times of another.

A segment leaves after its writer's call was entered, and arrives before the call that reads it has
ended. So its time plus the skew, which is the same for all segments, must lie between the two. All
such pairs together bound the skew to a few microseconds. The client reads its own clock before and
after its calls, so it can be compared in the same way.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lab.trace.model import Call, Packet, Skew
from lab.trace.streams import Streams

Pair = tuple[int, int, int]
"""Lower bound, event, upper bound; nanoseconds."""


def compare(
    calls: Sequence[Call],
    packets: Sequence[Packet],
    streams: Streams,
    answers: Sequence[Mapping[str, Any]],
) -> list[Skew]:
    """Return the skew of each pair of sources that have comparable events."""
    sources = [
        ("packets and system calls", _packets_in_calls(calls, packets, streams)),
        ("packets and the client", _packets_in_steps(packets, answers)),
        ("system calls and the client", _calls_in_steps(calls, answers)),
    ]
    return [skew for name, pairs in sources if (skew := bound(name, list(pairs)))]


def bound(between: str, pairs: Sequence[Pair]) -> Skew | None:
    """Return the range of offsets that put every event between its bounds."""
    if not pairs:
        return None
    low = max(earliest - event for earliest, event, _ in pairs)
    high = min(latest - event for _, event, latest in pairs)
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
    """Pair each request's packet with when the client began to send and got the first byte."""
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
