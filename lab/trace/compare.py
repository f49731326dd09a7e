"""Two traces beside each other: what differs between their servers, in figures."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.table import Table

from lab.trace.model import Call, Packet, Trace
from lab.trace.wording import duration


def differing(traces: Sequence[Trace]) -> list[list[str]]:
    """Return what is counted in each trace: a head with their names, then a row for each thing."""
    counted = [figures(trace) for trace in traces]
    names = list(dict.fromkeys(name for each in counted for name in each))
    head = ["", *(trace.asked.backend for trace in traces)]
    return [head, *([name, *(each.get(name, "") for each in counted)] for name in names)]


def differences(traces: Sequence[Trace]) -> Table:
    """Return it as a table for a terminal; what differs stands out."""
    head, *rows = differing(traces)
    table = Table(*head, box=None, pad_edge=False)
    for name, *values in rows:
        table.add_row(name, *values, style="bold" if len(set(values)) > 1 else "dim")
    return table


def figures(trace: Trace) -> Mapping[str, str]:
    """Return what a trace says of its server, by name."""
    calls = [e for e in trace.events if isinstance(e, Call) and e.lane == "backend"]
    packets = [event for event in trace.events if isinstance(event, Packet)]
    slept = sum(call.slept > 0 for call in calls)
    names = Counter(call.name for call in calls)
    told = {
        "the requests, alone": duration(sum(answer.done for answer in trace.alone)),
        "under strace": duration(sum(answer.done for answer in trace.traced)),
        "segments": str(len(packets)),
        "bytes in them": str(sum(packet.length for packet in packets)),
        "threads that make calls": str(len({call.tid for call in calls})),
        "system calls of the server": str(len(calls)),
        "  in which it sleeps": str(slept),
    }
    return told | {f"  {name}": str(count) for name, count in names.most_common()}
