"""A trace as JSON, times in seconds since its origin; SCHEMA.md explains each field."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from lab.trace.model import Answer, Call, Change, Event, Message, Note, Packet, Trace

KIND: Final = "chainlab-trace"
VERSION: Final = 1


def as_json(traces: Sequence[Trace]) -> dict[str, Any]:
    """Return the whole document: one trace, or the two that were compared."""
    return {"kind": KIND, "version": VERSION, "traces": [trace_as_json(trace) for trace in traces]}


def trace_as_json(trace: Trace) -> dict[str, Any]:
    """Return one trace."""
    return {
        "asked": asdict(trace.asked),
        "origin_ns": trace.origin,
        "seconds": (trace.end - trace.origin) / 1e9,
        "cost": {
            "alone": [_answer(answer) for answer in trace.alone],
            "strace": [_answer(answer) for answer in trace.traced],
        },
        "skew": [
            {
                "between": skew.between,
                "seconds": skew.skew / 1e9,
                "low": skew.low / 1e9,
                "high": skew.high / 1e9,
                "pairs": skew.pairs,
            }
            for skew in trace.skews
        ],
        "lanes": [asdict(lane) for lane in trace.lanes],
        "connections": [asdict(connection) for connection in trace.connections],
        "events": [_event(trace, event) for event in trace.events],
        "spans": [
            {
                "lane": span.lane,
                "tid": span.tid,
                "start": (span.start - trace.origin) / 1e9,
                "end": (span.end - trace.origin) / 1e9,
                "doing": span.doing,
            }
            for span in trace.spans
        ],
        "kernel_states": list(trace.kernel_states),
        "missing": [asdict(missing) for missing in trace.missing],
    }


def _answer(answer: Answer) -> dict[str, Any]:
    steps = {step: getattr(answer, step) / 1e9 for step in ("connected", "first_byte", "done")}
    fields = [list(pair) for pair in answer.fields]
    return {"status": answer.status, "bytes": answer.size, **steps, "fields": fields}


def _event(trace: Trace, event: Event) -> dict[str, Any]:
    result: dict[str, Any] = {"at": (event.time - trace.origin) / 1e9}
    if isinstance(event, Packet):
        result |= {
            "kind": "packet",
            "connection": event.connection.number,
            "sender": event.sender,
            "flags": sorted(event.flags),
            "seq": event.seq,
            "ack": event.ack,
            "length": event.length,
            "alone": None if event.alone is None else event.alone / 1e9,
        }
    elif isinstance(event, Call):
        result |= _call(trace, event)
    elif isinstance(event, Message):
        result |= {
            "kind": "message",
            "connection": event.connection.number,
            "sender": event.sender,
            "protocol": event.protocol,
            "name": event.name,
            "text": event.text,
            "offset": event.offset,
            "length": event.length,
            "fields": [list(pair) for pair in event.fields],
        }
    elif isinstance(event, Change):
        result |= {
            "kind": "state",
            "connection": event.connection.number,
            "side": event.side,
            "state": event.state,
        }
    elif isinstance(event, Note):
        result |= {"kind": "note", "lane": event.lane, "tid": event.tid, "text": event.text}
    return result


def _call(trace: Trace, call: Call) -> dict[str, Any]:
    waiting, copying = call.phases
    return {
        "kind": "call",
        "lane": call.lane,
        "tid": call.tid,
        "name": call.name,
        "role": call.role,
        "arguments": call.text,
        "result": call.result,
        "start": (call.start - trace.origin) / 1e9,
        "end": None if call.end is None else (call.end - trace.origin) / 1e9,
        "connection": call.connection.number if call.connection else None,
        "side": call.side,
        "bytes": len(call.data),
        "slept": call.slept / 1e9,
        "waiting": waiting / 1e9,
        "copying": copying / 1e9,
    }
