"""Text shared by terminal and page: durations, packets, calls, costs."""

from collections.abc import Sequence

from lab.trace.model import Call, Packet, Trace

_FLAGS = ("SYN", "FIN", "RST", "PSH", "ACK")


def duration(nanoseconds: int) -> str:
    """Format a duration with two or three significant digits: 12 µs, 1.3 ms, 2.0 s."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if nanoseconds >= size:
            value = nanoseconds / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{nanoseconds} ns"


def short(nanoseconds: int) -> str:
    """Format a duration without a space."""
    return duration(nanoseconds).replace(" ", "")


def packet(event: Packet) -> str:
    """Return a segment's flags and length."""
    flags = " ".join(flag for flag in _FLAGS if flag in event.flags)
    return f"{flags} {event.length} B" if event.length else flags


def call(event: Call) -> str:
    """Summarise a call: name, descriptor, result, and how long it took or slept (┊).

    A read that waited has two durations: waiting for data, copying it.
    """
    number = "" if event.descriptor is None else f" {event.descriptor}"
    head = f"{event.name}{number}"
    if event.end is None:
        return f"{head} …"
    result = event.result.split(" (")[0].removeprefix("-1 ")
    waiting, copying = event.phases
    if waiting:
        took = f"┊{short(waiting)}+{short(copying)}"
    elif event.slept:
        took = f"┊{short(event.slept)}"
    else:
        took = short(event.end - event.start)
    shown = "" if event.role in ("close", "other") and result == "0" else f"={result}"
    return f"{head}{shown} {took}"


def cost(trace: Trace) -> str:
    """Return how long the requests took, with and without strace."""
    alone = sum(answer.done for answer in trace.alone)
    traced = sum(answer.done for answer in trace.traced)
    what = "the request" if trace.asked.count == 1 else f"{trace.asked.count} requests"
    if not traced or not alone:
        return f"{what}: {duration(alone)}"
    factor = traced / alone
    return (
        f"{what}: {duration(alone)} without strace; {duration(traced)} under strace "
        f"(× {factor:.1f}), in a separate run"
    )


def clocks(trace: Trace) -> list[str]:
    """Return the skew of each pair of sources."""
    lines = []
    for skew in trace.skews:
        skewed = f"skew {duration(abs(skew.skew))}" if skew.skew else "no skew"
        low, high = duration(abs(skew.low)), duration(abs(skew.high))
        sign = "−" if skew.low < 0 else "+"
        pairs = "1 pair" if skew.pairs == 1 else f"{skew.pairs} pairs"
        lines.append(f"{skew.between}: {skewed} (between {sign}{low} and +{high}, {pairs})")
    return lines


def parts(trace: Trace) -> str:
    """Return the lanes as a chain."""
    return " → ".join(lane.title for lane in trace.lanes)


def headers(fields: Sequence[tuple[str, str]]) -> list[str]:
    """Return the fields that show timings and the request's identity."""
    wanted = ("server-timing", "x-request-id", "traceparent")
    return [f"{name}: {value}" for name, value in fields if name.lower() in wanted]
