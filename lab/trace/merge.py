"""Merge what all sources saw of one run into one sequence of events on one clock.

Events are sorted by time. That is also the causal order, because `Call.time` is the reliable one of
a call's two times: a write is entered before its segment leaves, and a read never ends before its
bytes have arrived. At equal times, a message follows the packet or call that carried its first
byte, and a new socket state follows the segment that caused it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lab.trace import skew, states
from lab.trace.connections import Connections, packets_of
from lab.trace.messages import decode
from lab.trace.model import (
    Call,
    Change,
    Connection,
    Event,
    Lane,
    Message,
    Note,
    Packet,
    Side,
    Skew,
    Span,
)
from lab.trace.run import Seen, client_ports
from lab.trace.streams import Streams, gather
from lab.trace.syscalls import complete_ends, understand
from lab.trace.waits import find_waits, spans

_SIDES: Sequence[Side] = ("client", "server")


@dataclass(frozen=True, slots=True)
class Merged:
    """One run, merged; it has no events before `origin` or after `end`."""

    origin: int
    end: int
    connections: Sequence[Connection]
    events: Sequence[Event]
    spans: Sequence[Span]
    skews: Sequence[Skew]
    kernel_states: Sequence[Mapping[str, Any]]


def merge(lanes: Sequence[Lane], seen: Seen) -> Merged:
    """Merge the results of one run."""
    calls: list[Call] = []
    notes: list[Note] = []
    for lane in lanes:
        own_calls, own_notes = understand(lane.id, seen.calls.get(lane.id, ()))
        calls += own_calls
        notes += own_notes
    complete_ends(calls)
    connections = Connections(lanes, client_ports(seen.answers))
    connections.note_owners(calls)
    packets = packets_of(seen.captured.segments if seen.captured else (), connections)
    connections.assign(calls)
    streams = gather(packets, calls)
    find_waits(calls, packets, streams)
    changed, ends = states.changes(packets)
    messages = _messages(connections.all, streams)
    origin, end = _window(calls, packets)
    notes = _without_epilogue(calls, notes)
    calls = _without_epilogue(calls, calls)
    unsorted: list[Event] = [*packets, *calls, *messages, *changed, *notes]
    events = sorted(
        (event for event in unsorted if origin <= event.time <= end),
        key=lambda event: (event.time, _rank(event)),
    )
    present = {process.pid for own in seen.processes.values() for process in own}
    sockets = seen.captured.sockets if seen.captured else ()
    return Merged(
        origin, end, connections.all, events, spans(calls, origin, end, present),
        skew.compare(calls, packets, streams, seen.answers),
        states.compare_with_kernel(ends, packets, sockets),
    )  # fmt: skip


def _rank(event: Event) -> tuple[int, int]:
    """Order events at one time: carrier, its messages, new states, then the call that waited."""
    if isinstance(event, Message):
        return 1, event.offset
    if isinstance(event, Change):
        return 2, 0
    return (3, 0) if isinstance(event, Call) and event.time == event.ready else (0, 0)


def _messages(connections: Sequence[Connection], streams: Streams) -> list[Message]:
    found = []
    for connection in connections:
        for side in _SIDES:
            stream = streams.best((connection.number, side))
            if stream is None:
                continue
            for each in decode(stream.content(), side):
                carrier = stream.carrier(each.offset)
                if carrier is not None:
                    found.append(
                        Message(carrier.time, connection, side, each.protocol, each.name,
                                each.text, each.offset, each.length, each.fields)
                    )  # fmt: skip
    return found


def _window(calls: Sequence[Call], packets: Sequence[Packet]) -> tuple[int, int]:
    """Return when the client began, and when the last event on any connection happened."""
    ours = [call for call in calls if call.connection]
    connects = [call for call in ours if call.lane == "client" and call.role == "connect"]
    begins = [packet.time for packet in packets[:1]]
    if connects:
        first = connects[0]
        sockets = [
            call.start for call in calls
            if call.name == "socket" and call.tid == first.tid and call.start < first.start
        ]  # fmt: skip
        begins.append(sockets[-1] if sockets else first.start)
    if not begins:
        begins = [call.start for call in ours] or [0]
    ends = [packet.time for packet in packets] + [call.end or call.start for call in ours]
    return min(begins), max(ends, default=0)


Own = TypeVar("Own", Call, Note)


def _without_epilogue(calls: Sequence[Call], own: list[Own]) -> list[Own]:
    """Drop what the client does after its last call on a connection: reporting, exiting."""
    last = max((c.start for c in calls if c.lane == "client" and c.connection), default=None)
    return [each for each in own if each.lane != "client" or last is None or each.time <= last]
