"""The ladder as a self-contained page: every call, a zoomable timeline, details on hover.

This module prepares the data, with the same texts as the terminal; page/*.js draws it. Times are
milliseconds since the trace's origin.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainlab.pages import environment
from lab.trace import wording
from lab.trace.compare import differing
from lab.trace.model import Call, Change, Event, LaneId, Message, Note, Packet, Trace
from lab.trace.rows import Lives, Row, is_minor, rows, thread_numbers, threads


def write(path: Path, traces: Sequence[Trace], command: str) -> None:
    """Write a page with one trace, or several side by side; `command` reproduces it."""
    template = environment("lab.trace", "page").get_template("page.html")
    seen = [
        {
            "trace": trace,
            "title": wording.parts(trace),
            "cost": wording.cost(trace),
            "clocks": wording.clocks(trace),
            "data": data(trace),
            "table": table(trace),
        }
        for trace in traces
    ]
    counted = differing(traces) if len(traces) > 1 else None
    html = template.render(seen=seen, command=command, url=traces[0].asked.url, counted=counted)
    path.write_text(html)


def data(trace: Trace) -> dict[str, Any]:
    """Return the data that the scripts draw."""
    found = rows(trace, together=False)
    lives, numbers = Lives(trace), thread_numbers(trace)
    return {
        "lanes": [
            {"id": lane.id, "title": lane.title, "threads": len(threads(trace, lane.id)) or 1}
            for lane in trace.lanes
        ],
        "milliseconds": (trace.end - trace.origin) / 1e6,
        "alone": bool(trace.alone),
        "strace": bool(trace.traced),
        "rows": [_row(trace, row, lives, numbers) for row in found],
        "threads": _threads(trace, found),
    }


def _milli(trace: Trace, nanoseconds: int) -> float:
    return round((nanoseconds - trace.origin) / 1e6, 6)


def _row(
    trace: Trace, row: Row, lives: Lives, numbers: Mapping[tuple[LaneId, int], int]
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "kind": row.kind,
        "at": _milli(trace, row.time),
        "alone": None if row.alone is None else round(row.alone / 1e6, 3),
        "lane": row.lane,
        "to": row.to,
        "text": row.text,
        "lives": {lane.id: lives.at(lane.id, row.time) for lane in trace.lanes},
        "details": details(trace, row.events[0]),
    }
    event = row.events[0]
    if isinstance(event, Call):
        result["minor"] = is_minor(event)
        result["thread"] = numbers.get((event.lane, event.tid), 1) - 1
        result["phases"] = _phases(trace, event)
    return result


def _phases(trace: Trace, call: Call) -> list[float] | None:
    """Return begin and end of the wait, and end of the copy; None if there is neither."""
    copying = call.phases[1]
    if call.end is None or not (call.slept or copying):
        return None
    awake = call.start + call.slept
    done = awake + copying
    return [_milli(trace, max(moment, trace.origin)) for moment in (call.start, awake, done)]


def _threads(trace: Trace, found: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the timeline: for each thread its spans, and its calls as row numbers."""
    names = {
        process.pid: process.name for lane in trace.lanes for process in lane.processes
    }  # fmt: skip
    lines: dict[tuple[str, int], dict[str, Any]] = {}
    for span in trace.spans:
        line = lines.setdefault(
            (span.lane, span.tid),
            {"lane": span.lane, "name": f"{span.tid} {names.get(span.tid, '')}".strip(),
             "spans": [], "calls": []},
        )  # fmt: skip
        line["spans"].append([_milli(trace, span.start), _milli(trace, span.end), span.doing])
    for number, row in enumerate(found):
        event = row.events[0]
        if isinstance(event, Call) and (event.lane, event.tid) in lines:
            lines[event.lane, event.tid]["calls"].append(number)
    order = [lane.id for lane in trace.lanes]
    return sorted(lines.values(), key=lambda line: order.index(line["lane"]))


def details(trace: Trace, event: Event) -> list[tuple[str, str]]:
    """Return all details of an event, as name-value pairs."""
    if isinstance(event, Call):
        return _of_call(trace, event)
    if isinstance(event, Note):
        return [("thread", str(event.tid)), ("what", event.text)]
    kind, ends = event.connection.kind, event.connection.ends
    pairs = [("connection", f"{kind}, {ends['client']} → {ends['server']}")]
    if isinstance(event, Packet):
        pairs += [
            ("flags", " ".join(sorted(event.flags))), ("sequence number", str(event.seq)),
            ("acknowledges", str(event.ack)), ("payload", f"{event.length} B"),
        ]  # fmt: skip
        if event.alone is not None:
            pairs.append(("without strace", f"{event.alone / 1e6:.3f} ms after the origin"))
    elif isinstance(event, Change):
        pairs.append((f"the {event.side}'s socket", event.state))
    elif isinstance(event, Message):
        pairs += [
            (event.name, event.text), ("bytes", f"{event.offset} … {event.offset + event.length}")
        ]  # fmt: skip
        pairs += event.fields
    return pairs


def _of_call(trace: Trace, call: Call) -> list[tuple[str, str]]:
    pairs = [
        ("thread", str(call.tid)), ("call", f"{call.name}({call.text})"), ("returned", call.result),
        ("entered", f"{_milli(trace, call.start):.3f} ms"),
    ]  # fmt: skip
    if call.end is None:
        return [*pairs, ("ended", "after the end of the trace")]
    pairs.append(("took", wording.duration(call.end - call.start)))
    waiting, copying = call.phases
    if copying:
        pairs.append(("first phase, waiting for data", wording.duration(waiting)))
        pairs.append(("second phase, copying it", wording.duration(copying)))
    elif call.slept:
        pairs.append(("slept", wording.duration(call.slept)))
    return pairs


def table(trace: Trace) -> Mapping[str, Any]:
    """Return the ladder as a table, for readers who cannot see the drawing."""
    titles = {lane.id: lane.title for lane in trace.lanes}
    cells = []
    for row in rows(trace):
        where = titles[row.lane] + (f" → {titles[row.to]}" if row.to else "")
        cells.append([f"{_milli(trace, row.time):.3f}", where, row.kind, row.text])
    return {"head": ["ms", "where", "what", ""], "rows": cells}
