"""Find what each call waited for, and so when each thread slept and ran.

A waiting call is woken by an arrival: bytes, a connection, or the other end's close. Its first
phase, waiting for data, lasts from its entry until the arrival (`ready`); its second, copying the
data, until its exit. There is no first phase if the arrival preceded the entry.

A read is woken by the first byte that it returns, an accept by the end of the handshake, a connect
by the answer to its SYN. For a wait on several descriptors (epoll_wait), strace does not show which
arrival woke it; the last one in its lane before its end is taken.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

from lab.trace.model import Call, LaneId, Packet, Side, Span, other
from lab.trace.streams import Streams

AWAKE: Final = 100_000
"""Nanoseconds: a longer wait under strace counts as sleep even if nothing was seen to end it. A
call that returns at once takes about 10,000, most of which are strace's stops."""

_AFTER_SLEEP: Final = ("-1 EINTR", "-1 ETIMEDOUT")
"""Errors of calls that may have slept; other errors return at once."""

_SYNACK: Final = frozenset(("SYN", "ACK"))


def find_waits(calls: Sequence[Call], packets: Sequence[Packet], streams: Streams) -> None:
    """Set each call's `ready` and `slept`; move `end` to `ready` if it is earlier."""
    moments = _Moments(calls, packets)
    for call in calls:
        call.ready = _ready(call, moments, streams)
        if call.ready is not None and call.end is not None:
            call.end = max(call.end, call.ready)
        call.slept = _slept(call)


class _Moments:
    """When each connection was opened and closed, and all arrival times in each lane."""

    def __init__(self, calls: Iterable[Call], packets: Iterable[Packet]) -> None:
        self.answered: dict[int, int] = {}
        self.opened: dict[int, int] = {}
        self.closed: dict[tuple[int, Side], int] = {}
        arrivals: dict[LaneId, list[int]] = defaultdict(list)
        for packet in packets:
            number = packet.connection.number
            if packet.flags >= _SYNACK:
                self.answered.setdefault(number, packet.time)
            elif number in self.answered:
                self.opened.setdefault(number, packet.time)
            if packet.flags & {"FIN", "RST"}:
                self.closed.setdefault((number, packet.sender), packet.time)
            opens = self.opened.get(number) == packet.time
            if packet.payload or opens or packet.flags & {"SYN", "FIN", "RST"}:
                arrivals[packet.connection.lanes[other(packet.sender)]].append(packet.time)
        for call in calls:
            if call.connection is None or call.side is None or call.connection.kind != "unix":
                continue
            number = call.connection.number
            if call.role == "connect":
                self.opened.setdefault(number, call.start)
            elif call.role == "close":
                self.closed.setdefault((number, call.side), call.start)
            if call.role in ("connect", "write", "close"):
                arrivals[call.connection.lanes[other(call.side)]].append(call.start)
        self._arrivals = {lane: sorted(times) for lane, times in arrivals.items()}

    def woke(self, call: Call) -> int | None:
        """Return the time of the last arrival in the call's lane during the call; None if none."""
        times = self._arrivals.get(call.lane, [])
        assert call.end is not None
        # `end` is the earliest end of the call, so nothing may have arrived by then.
        for until in (call.end, call.latest or call.end):
            at = bisect_right(times, until) - 1
            if at >= 0 and times[at] > call.start:
                return times[at]
        return None


def _ready(call: Call, moments: _Moments, streams: Streams) -> int | None:
    if call.end is None or call.failed:
        return None
    if call.role == "wait":
        # 0: a timeout (epoll_wait), or woken by something else than an arrival (futex)
        return None if call.result.startswith("0") else moments.woke(call)
    if call.connection is None or call.side is None:
        return None
    number = call.connection.number
    if call.role == "connect":
        return moments.answered.get(number)
    if call.role == "accept":
        return moments.opened.get(number)
    if call.role != "read":
        return None
    if not call.data:
        return moments.closed.get((number, other(call.side)))
    carrier = streams.sent((number, other(call.side)), call.offset)
    if carrier is None:
        return None
    return carrier.time if isinstance(carrier, Packet) else carrier.start


def _slept(call: Call) -> int:
    if call.role not in ("read", "accept", "connect", "wait") or call.end is None:
        return 0
    if call.failed and not call.result.startswith(_AFTER_SLEEP):
        return 0
    if call.ready is not None:
        return max(0, call.ready - call.start)
    lasted = call.end - call.start
    return lasted if lasted > AWAKE else 0


def spans(calls: Iterable[Call], begin: int, end: int, present: Set[int]) -> list[Span]:
    """Return when each thread slept and ran between `begin` and `end`, judging by its calls.

    Between two calls a thread runs. A thread in `present` existed before the trace: until its first
    call it slept in a call whose entry strace did not see. Any other thread starts at its first
    call.
    """
    threads: Mapping[tuple[LaneId, int], list[Call]] = defaultdict(list)
    for call in calls:
        threads[call.lane, call.tid].append(call)
    found: list[Span] = []
    for (lane, tid), own in threads.items():
        at = begin
        if own[0].start > begin:
            at = min(own[0].start, end)
            if tid in present:
                found.append(Span(lane, tid, begin, at, "sleeps"))
        for call in own:
            start, stop = max(call.start, at), min(_woke(call, end), end)
            if stop <= start:
                continue
            if start > at:
                found.append(Span(lane, tid, at, start, "runs"))
            found.append(Span(lane, tid, start, stop, "sleeps"))
            at = stop
        gone = own[-1].start if own[-1].name.startswith("exit") else end
        if at < min(gone, end):
            found.append(Span(lane, tid, at, min(gone, end), "runs"))
    return found


def _woke(call: Call, end: int) -> int:
    """Return when a call stops sleeping; its entry if it does not sleep."""
    if call.end is None:
        return end if call.role in ("read", "accept", "connect", "wait") else call.start
    return call.start + call.slept
