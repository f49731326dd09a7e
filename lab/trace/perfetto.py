"""A trace for https://ui.perfetto.dev and chrome://tracing: the Trace Event Format, as JSON.

Each lane is a process, with its threads. Each call is a slice; its sleep is a nested slice. Each
connection is a process with one thread per end: socket states are slices, segments and messages
are instants. An arrow joins the call that wrote a message's first byte to the call that read that
byte. Times are microseconds since the trace's origin.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from lab.trace import wording
from lab.trace.model import Call, Change, Connection, Message, Note, Packet, Side, Trace, other

_SIDES: Final[tuple[Side, Side]] = ("client", "server")
_CONNECTIONS: Final = 100
"""Process ids above this are connections, those below are lanes."""


def perfetto(trace: Trace) -> dict[str, Any]:
    """Convert a trace."""
    events = [*_names(trace), *_calls(trace), *_network(trace), *_states(trace), *_arrows(trace)]
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _names(trace: Trace) -> Iterator[dict[str, Any]]:
    named = [(number, lane.title) for number, lane in enumerate(trace.lanes, 1)]
    named += [(_CONNECTIONS + c.number, _title(trace, c)) for c in trace.connections]
    for number, name in named:
        yield {"ph": "M", "name": "process_name", "pid": number, "args": {"name": name}}
    for connection in trace.connections:
        for tid, side in enumerate(_SIDES, 1):
            name = f"{trace.lane(connection.lanes[side]).title} {connection.ends[side]}"
            pid = _CONNECTIONS + connection.number
            yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}


def _title(trace: Trace, connection: Connection) -> str:
    client, server = (trace.lane(connection.lanes[side]).title for side in _SIDES)
    return f"{client} → {server} ({connection.kind})"


def _lane_numbers(trace: Trace) -> dict[str, int]:
    return {lane.id: number for number, lane in enumerate(trace.lanes, 1)}


def _micro(trace: Trace, nanoseconds: int) -> float:
    return (nanoseconds - trace.origin) / 1000


def _calls(trace: Trace) -> Iterator[dict[str, Any]]:
    lanes = _lane_numbers(trace)
    for event in trace.events:
        if isinstance(event, Note):
            where = {"pid": lanes[event.lane], "tid": event.tid, "ts": _micro(trace, event.time)}
            yield {"ph": "i", "s": "t", "name": event.text, **where}
        if not isinstance(event, Call):
            continue
        start, end = max(event.start, trace.origin), event.end or trace.end
        where = {"pid": lanes[event.lane], "tid": event.tid}
        arguments = {"arguments": event.text, "result": event.result}
        yield _slice(trace, event.name, start, end, where, arguments)
        waiting, copying = event.phases
        if event.slept and event.start + event.slept > start:
            name = "waiting for data" if waiting else "sleeps"
            yield _slice(trace, name, start, event.start + event.slept, where)
        if waiting and copying:
            yield _slice(trace, "copying", end - copying, end, where)


def _slice(
    trace: Trace, name: str, start: int, end: int, where: dict[str, Any], arguments: object = None
) -> dict[str, Any]:
    """Return a complete event: something with a duration."""
    period = {"ts": _micro(trace, start), "dur": max(end - start, 0) / 1000}
    return {"ph": "X", "name": name, **where, **period, "args": arguments or {}}


def _network(trace: Trace) -> Iterator[dict[str, Any]]:
    for event in trace.events:
        if isinstance(event, Packet | Message):
            name = wording.packet(event) if isinstance(event, Packet) else event.name
            yield {
                "ph": "i", "s": "t", "name": name, "ts": _micro(trace, event.time),
                "pid": _CONNECTIONS + event.connection.number,
                "tid": 1 + _SIDES.index(event.sender),
                "args": dict(event.fields) if isinstance(event, Message) else {"seq": event.seq},
            }  # fmt: skip


def _states(trace: Trace) -> Iterator[dict[str, Any]]:
    current: dict[tuple[int, Side], Change] = {}
    changes = [event for event in trace.events if isinstance(event, Change)]
    for change in [*changes, None]:  # None: the end of the trace, which ends all states
        ended = list(current.values()) if change is None else []
        if change is not None:
            key = change.connection.number, change.side
            ended = [current[key]] if key in current else []
            current[key] = change
        for each in ended:
            pid, tid = _CONNECTIONS + each.connection.number, 1 + _SIDES.index(each.side)
            until = change.time if change else trace.end
            yield _slice(trace, each.state, each.time, until, {"pid": pid, "tid": tid})


def _arrows(trace: Trace) -> Iterator[dict[str, Any]]:
    lanes = _lane_numbers(trace)
    calls = [event for event in trace.events if isinstance(event, Call)]
    messages = [event for event in trace.events if isinstance(event, Message)]
    for number, message in enumerate(messages, 1):
        writer = _mover(calls, message, message.sender, "write")
        reader = _mover(calls, message, other(message.sender), "read")
        if writer is None or reader is None or reader.end is None:
            continue
        shared = {"cat": "message", "name": message.name, "id": number}
        for kind, call, time in (("s", writer, writer.start), ("f", reader, reader.end)):
            where = {"pid": lanes[call.lane], "tid": call.tid, "ts": _micro(trace, time)}
            yield {"ph": kind, "bp": "e", **shared, **where}


def _mover(calls: Iterable[Call], message: Message, side: Side, role: str) -> Call | None:
    """Return the call that wrote or read a message's first byte."""
    for call in calls:
        if (
            call.connection is message.connection and call.side == side and call.role == role
            and call.offset <= message.offset < call.offset + len(call.data)
        ):  # fmt: skip
            return call
    return None
