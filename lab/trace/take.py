"""Take a trace: one run with only a packet capture, for true timings, and one under strace.

strace stops a process twice per system call, so a request takes many times as long: its times are
not real, but its sequence is. The capture-only run gives the true times of the same segments.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from lab.trace.merge import Merged, merge
from lab.trace.model import Asked, Lane, Packet, Trace
from lab.trace.run import Question, Seen, answer_of, watch
from lab.trace.segments import Captured
from lab.trace.subject import Subject

Open = Callable[[], AbstractContextManager[Subject]]
"""Opens the chain for one run: the running chain, or a new one."""


def take(
    open_subject: Open, target: str, *, count: int = 1, reuse: bool = False, client: str = "own"
) -> tuple[Trace, Captured | None]:
    """Trace `count` requests; return the trace and its packet capture."""
    (subject, lanes, alone), (_, later_lanes, traced) = (
        _run(open_subject, target, count, reuse, client, strace=strace) for strace in (False, True)
    )
    undisturbed = merge(lanes, alone)
    if not traced.calls:  # strace failed: show the capture-only run
        later_lanes, whole, main = lanes, undisturbed, alone
    else:
        whole, main = merge(later_lanes, traced), traced
        _compare(whole, undisturbed)
    asked = Asked(
        f"http://{subject.host}:{subject.port}{target}",
        subject.title("front"), subject.title("backend"), count, reuse, client,
    )  # fmt: skip
    processes = [replace(lane, processes=main.processes.get(lane.id, ())) for lane in later_lanes]
    trace = Trace(
        asked, whole.origin, whole.end, processes, whole.connections, whole.events, whole.spans,
        whole.skews, [answer_of(reported) for reported in alone.answers],
        [answer_of(reported) for reported in traced.answers] if traced.calls else (),
        whole.kernel_states, list(dict.fromkeys([*alone.missing, *traced.missing])),
    )  # fmt: skip
    return trace, main.captured


def _run(
    open_subject: Open, target: str, count: int, reuse: bool, client: str, *, strace: bool
) -> tuple[Subject, Sequence[Lane], Seen]:
    with open_subject() as subject:
        question = Question(
            subject.host, subject.port, target, count, reuse, client, subject.place
        )  # fmt: skip
        seen = watch(question, subject.lanes, strace=strace)
    return subject, [Lane("client", client_title(client)), *(w.lane for w in subject.lanes)], seen


def client_title(client: str) -> str:
    """Return the title of the client's column."""
    return "client" if client == "own" else client


def _compare(whole: Merged, undisturbed: Merged) -> None:
    """Set each packet's `alone`: when the same segment was sent in the run without strace."""
    times = {
        key: packet.time - undisturbed.origin for key, packet in _identified(undisturbed.events)
    }
    for key, packet in _identified(whole.events):
        packet.alone = times.get(key)


def _identified(events: Sequence[object]) -> Iterator[tuple[object, Packet]]:
    """Yield each packet that can be matched across runs, with its key.

    The key is the connection, the sender, the flags SYN, FIN, RST, and the sequence number. Ports
    differ between runs, so a connection's key is its lanes and its position among theirs. Pure
    ACKs and retransmissions are left out.
    """
    places: dict[int, tuple[object, int]] = {}
    counts: dict[object, int] = defaultdict(int)
    yielded = set()
    for packet in events:
        if not isinstance(packet, Packet):
            continue
        connection = packet.connection
        if connection.number not in places:
            lanes = tuple(connection.lanes.items())
            places[connection.number] = lanes, counts[lanes]
            counts[lanes] += 1
        flags = packet.flags & {"SYN", "FIN", "RST"}
        key = places[connection.number], packet.sender, flags, packet.seq
        if (flags or packet.payload) and key not in yielded:
            yielded.add(key)
            yield key, packet
