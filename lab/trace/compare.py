"""Compare two traces: what differs between their servers, in numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.table import Table

from lab.trace.model import Call, Packet, Trace
from lab.trace.wording import duration


def differing(traces: Sequence[Trace]) -> list[list[str]]:
    """Return a table of the traces' figures: a header with the back ends, then a row per figure."""
    counted = [figures(trace) for trace in traces]
    names = list(dict.fromkeys(name for each in counted for name in each))
    head = ["", *(trace.asked.backend for trace in traces)]
    return [head, *([name, *(each.get(name, "") for each in counted)] for name in names)]


def differences(traces: Sequence[Trace]) -> Table:
    """Return that table for a terminal, with differing rows in bold."""
    head, *rows = differing(traces)
    table = Table(*head, box=None, pad_edge=False)
    for name, *values in rows:
        table.add_row(name, *values, style="bold" if len(set(values)) > 1 else "dim")
    return table


def figures(trace: Trace) -> Mapping[str, str]:
    """Return a trace's figures about its server, by name."""
    calls = [e for e in trace.events if isinstance(e, Call) and e.lane == "backend"]
    packets = [event for event in trace.events if isinstance(event, Packet)]
    slept = sum(call.slept > 0 for call in calls)
    names = Counter(call.name for call in calls)
    result = {
        "requests, without strace": duration(sum(answer.done for answer in trace.alone)),
        "requests, under strace": duration(sum(answer.done for answer in trace.traced)),
        "segments": str(len(packets)),
        "payload bytes": str(sum(packet.length for packet in packets)),
        "server threads that make system calls": str(len({call.tid for call in calls})),
        "system calls of the server": str(len(calls)),
        "  of these, sleeping": str(slept),
    }
    return result | {f"  {name}": str(count) for name, count in names.most_common()}
