"""S3: what a packet capture of one request contains, and what it cannot contain.

`lab trace` sends GET /hello through gateway and worker, captures the packets on the loopback and
runs strace. So each byte is seen twice: in the segment that carried it and in the system call that
wrote it. In a second run gateway and worker talk through a unix socket: that hop shows only in the
system calls, because it produces no packets.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from chainlab.pages.charts import Chart
from experiments import drawing, one_request, symbols
from experiments.frame import NOT_MEASURED, Experiment, Finding, Limits, Numbers, verdict
from experiments.one_request import ASKED, CLIENT, GATEWAY, WORKER

ORDER: Final = (
    (
        (CLIENT, GATEWAY, "SYN"), (GATEWAY, CLIENT, "SYN-ACK"), (CLIENT, GATEWAY, "ACK"),
        (CLIENT, GATEWAY, "request"),
        (GATEWAY, WORKER, "SYN"), (WORKER, GATEWAY, "SYN-ACK"), (GATEWAY, WORKER, "ACK"),
        (GATEWAY, WORKER, "BEGIN_REQUEST"), (GATEWAY, WORKER, "PARAMS"),
        (GATEWAY, WORKER, "STDIN"), (WORKER, GATEWAY, "STDOUT"),
        (GATEWAY, CLIENT, "response"), (CLIENT, GATEWAY, "FIN"),
    ),
    ((WORKER, GATEWAY, "STDOUT"), (WORKER, GATEWAY, "END_REQUEST")),
    ((GATEWAY, CLIENT, "response"), (GATEWAY, CLIENT, "FIN")),
)  # fmt: skip
"""Causal chains: the first occurrence of each entry must follow that of the entry before."""

TYPES: Final = {"BEGIN_REQUEST": 1, "END_REQUEST": 3, "PARAMS": 4, "STDIN": 5, "STDOUT": 6}
"""FastCGI record types (FastCGI 1.0, section 8), as tshark prints them."""


def measure(_limits: Limits) -> Numbers:
    """Trace the request over TCP and over a unix socket."""
    return one_request.take()


def judge(numbers: Numbers) -> list[Finding]:
    """Judge the order, the bytes, the unix socket without packets, and the capture file."""
    tcp, unix = numbers["tcp"], numbers["unix"]
    lacks = [*tcp["lacks"], *unix["lacks"]]
    if lacks:
        calls = [_unmeasured(part, lacks[0]) for part in ("every byte", "a unix socket")]
    else:
        calls = [_every_byte(tcp["ways"]), _unix_socket(unix)]
    return [_one_request(tcp["events"]), *calls, _file(numbers["read"], tcp["events"])]


def _unmeasured(part: str, why: str) -> Finding:
    return Finding("S3", NOT_MEASURED, why, part=part)


def _one_request(events: Sequence[Sequence[Any]]) -> Finding:
    entries = [tuple(event[:3]) for event in events]
    first = {each: entries.index(each) for each in set(entries)}
    absent = {each for chain in ORDER for each in chain if each not in first}
    wrong = [f"no {what} from {sender} to {to}" for sender, to, what in sorted(absent)]
    for chain in ORDER:
        for before, after in pairwise(chain):
            if not absent & {before, after} and first[before] > first[after]:
                wrong.append(f"{after[2]} to {after[1]} before {before[2]} to {before[1]}")
    packets = sum(event[3] is not None for event in events)
    key = (
        f"{packets} packets contain, in order: the handshake, the request, the worker's handshake, "
        "BEGIN_REQUEST, PARAMS, STDIN, STDOUT, END_REQUEST, the response, and a FIN each way"
    )
    return Finding("S3", verdict(not wrong), "; ".join(wrong) or key, part="one request")


def _every_byte(ways: Iterable[Mapping[str, Any]]) -> Finding:
    tcp = [way for way in ways if way["kind"] == "tcp"]
    written = ", ".join(
        f"{way['from']} to {way['to']} {way['in_calls']}"
        + ("" if way["in_calls"] == way["in_packets"] else f", in packets {way['in_packets']}")
        for way in tcp
    )
    holds = len(tcp) == 4 and all(way["in_calls"] == way["in_packets"] > 0 for way in tcp)
    key = f"bytes that system calls wrote to TCP: {written}; " + (
        "the packets carried the same number each way" if holds else "the packets carried others"
    )
    return Finding("S3", verdict(holds), key, part="every byte")


def _unix_socket(unix: Numbers) -> Finding:
    hop = [way for way in unix["ways"] if way["kind"] == "unix"]
    whole = {event[2] for event in unix["events"]} >= set(TYPES)
    holds = len(hop) == 2 and whole and all(w["in_calls"] > w["in_packets"] == 0 for w in hop)
    calls, packets = (sum(way[seen] for way in hop) for seen in ("in_calls", "in_packets"))
    key = (
        f"gateway and worker on a unix socket: {calls} bytes in system calls, decoded to FastCGI "
        f"records; {packets} in packets"
    )
    scope = "tcpdump sees what crosses a network interface; the bytes of a unix socket cross none."
    return Finding("S3", verdict(holds), key, scope, part="a unix socket")


def _file(read: Numbers | None, events: Sequence[Sequence[Any]]) -> Finding:
    if read is None:
        why = "neither tshark nor tcpdump is installed; sudo apt install tshark"
        return _unmeasured("the file", why)
    if read["exit"] and not read["packets"]:
        return _unmeasured(
            "the file", f"{read['command'].partition(' ')[0]} failed: {' '.join(read['said'])}"
        )
    captured = sum(event[3] is not None for event in events)
    sent = [TYPES[event[2]] for event in events if event[2] in TYPES]
    holds = read["exit"] == 0 and read["packets"] == captured
    holds = holds and read["records"] in (None, sent)
    also = "" if read["records"] is None else f" and {len(read['records'])} FastCGI records"
    program = read["command"].partition(" ")[0]
    key = (
        f"{program} reads {read['packets']} of {captured} packets{also}; by hand: lab "
        f"{' '.join(ASKED)} --pcap hello.pcapng, then {read['command']}"
    )
    scope = "" if read["records"] is None else "The port differs each time; lab trace prints it."
    return Finding("S3", verdict(holds), key, scope, part="the file")


KINDS: Final = {
    "SYN": "opens", "SYN-ACK": "opens", "content": "content", "ACK": "only acknowledges",
    "FIN": "closes", "RST": "closes",
}  # fmt: skip


def figures(numbers: Numbers) -> list[Chart]:
    """Draw the packets in order, and the bytes in packets and in system calls."""
    packets = [event for event in numbers["tcp"]["events"] if event[3] is not None]
    rows: dict[str, dict[str, list[float]]] = {}
    for place, (sender, to, kind, _) in enumerate(packets, 1):
        row = rows.setdefault(f"{sender} to {to}", {each: [] for each in KINDS.values()})
        row[KINDS[kind]].append(place)
    text = "Each packet at its place in the capture, by sender and receiver, and by purpose."
    drawn = [symbols.strip("s3-packets", "One request in packets", text, rows, "packet")]
    if numbers["tcp"]["lacks"] or numbers["unix"]["lacks"]:
        return drawn
    text = "Bytes written each way. No byte of the unix socket is in a packet."
    seen = {
        f"{way['from']} to {way['to']}, {way['kind']}": {
            "in packets and system calls": min(way["in_packets"], way["in_calls"]),
            "in system calls only": max(way["in_calls"] - way["in_packets"], 0),
        }
        for run in ("tcp", "unix")
        for way in numbers[run]["ways"]
        if run == "tcp" or way["kind"] == "unix"
    }
    return [*drawn, drawing.bars("s3-bytes", "Where the bytes were seen", text, seen, "bytes")]


EXPERIMENT = Experiment(
    claims={
        "S3": "Master tcpdump: the network traffic of one request can be captured and read "
        "packet by packet."
    },
    title="One request, captured",
    method="lab trace sends GET /hello through gateway and worker, with a packet capture and "
    "strace; once with TCP between the two, once with a unix socket. tshark or tcpdump reads the "
    "capture.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=330, cpu_seconds=60, memory=2 << 30),
)
