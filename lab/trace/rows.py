"""The rows of a ladder, in order of time: which text goes into which column.

Consecutive minor calls of a thread (getsockname, fcntl, reading a file) share a row; the JSON and
the page have each of them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lab.trace import wording
from lab.trace.model import Call, Change, Event, LaneId, Message, Note, Packet, Span, Trace, other


@dataclass(slots=True)
class Row:
    """One row: an arrow between two lanes, or text in one lane."""

    kind: Literal["packet", "message", "call", "state", "note", "fields"]
    time: int
    lane: LaneId
    text: str
    to: LaneId | None = None
    alone: int | None = None
    events: Sequence[Event] = field(default_factory=list)


class Lives:
    """What each lane does at a given time; a lane runs while any of its threads runs."""

    def __init__(self, trace: Trace) -> None:
        self._spans: dict[LaneId, list[Span]] = {}
        for span in trace.spans:
            self._spans.setdefault(span.lane, []).append(span)

    def at(self, lane: LaneId, time: int) -> Literal["runs", "sleeps", "unknown"]:
        """Return what a lane does at `time`; "unknown" if none of its threads was traced."""
        doing = {span.doing for span in self._spans.get(lane, ()) if span.start <= time < span.end}
        if "runs" in doing:
            return "runs"
        return "sleeps" if doing else "unknown"


def rows(trace: Trace, *, together: bool = True) -> list[Row]:
    """Return all rows of a trace; if `together`, consecutive minor calls share a row."""
    names = {key: f"#{number} " for key, number in thread_numbers(trace).items()}
    found: list[Row] = []
    minor: list[Call] = []
    for event in trace.events:
        if together and isinstance(event, Call) and is_minor(event):
            if minor and (minor[0].tid, minor[0].lane) != (event.tid, event.lane):
                found.append(_together(minor, names))
                minor = []
            minor.append(event)
            continue
        if minor:
            found.append(_together(minor, names))
            minor = []
        found += _rows_of(event, names)
    return [*found, _together(minor, names)] if minor else found


def thread_numbers(trace: Trace) -> dict[tuple[LaneId, int], int]:
    """Number the threads of each lane from 1; lanes in which only one thread calls have none."""
    seen: dict[LaneId, list[int]] = {}
    for event in trace.events:
        if isinstance(event, Call) and event.tid not in seen.setdefault(event.lane, []):
            seen[event.lane].append(event.tid)
    return {
        (lane, tid): number
        for lane, tids in seen.items()
        if len(tids) > 1
        for number, tid in enumerate(tids, 1)
    }


def threads(trace: Trace, lane: LaneId) -> list[str]:
    """Describe the numbered threads of a lane: `#1 4711 name`."""
    names = {process.pid: process.name for process in trace.lane(lane).processes}
    return [
        f"#{number} {tid} {names.get(tid, '')}".strip()
        for (of, tid), number in thread_numbers(trace).items()
        if of == lane
    ]


def is_minor(call: Call) -> bool:
    """Tell whether a call moves no data and waits for nothing."""
    return call.role == "other" or (call.failed and "EAGAIN" in call.result)


def _together(calls: Sequence[Call], names: dict[tuple[LaneId, int], str]) -> Row:
    first = calls[0]
    thread = names.get((first.lane, first.tid), "")
    if len(calls) == 1:
        text = wording.call(first)
    else:
        counts = Counter(call.name for call in calls)
        listed = ", ".join(f"{name} × {n}" if n > 1 else name for name, n in counts.items())
        took = sum((call.end or call.start) - call.start for call in calls)
        text = f"{wording.short(took)} {listed}"
    return Row("call", first.time, first.lane, thread + text, events=calls)


def _rows_of(event: Event, names: dict[tuple[LaneId, int], str]) -> Iterator[Row]:
    if isinstance(event, Packet | Message):
        lanes = event.connection.lanes
        sender, receiver = lanes[event.sender], lanes[other(event.sender)]
        if isinstance(event, Packet):
            text = wording.packet(event)
            yield Row("packet", event.time, sender, text, receiver, event.alone, [event])
        else:
            text = event.text if event.protocol == "http" else f"{event.name} {event.text}"
            yield Row("message", event.time, sender, text, receiver, events=[event])
            for line in wording.headers(event.fields):
                yield Row("fields", event.time, sender, line, receiver, events=[event])
    elif isinstance(event, Change):
        lane = event.connection.lanes[event.side]
        yield Row("state", event.time, lane, event.state, events=[event])
    elif isinstance(event, Note):
        thread = names.get((event.lane, event.tid), "")
        yield Row("note", event.time, event.lane, thread + event.text, events=[event])
    else:
        thread = names.get((event.lane, event.tid), "")
        yield Row("call", event.time, event.lane, thread + wording.call(event), events=[event])
