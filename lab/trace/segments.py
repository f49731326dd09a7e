"""Parse the capture agent's output: frames, and (with dpkt) the TCP segments in them."""

import base64
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import dpkt

from lab.trace.arguments import normal

_NAMES: Final = (
    (dpkt.tcp.TH_SYN, "SYN"),
    (dpkt.tcp.TH_FIN, "FIN"),
    (dpkt.tcp.TH_RST, "RST"),
    (dpkt.tcp.TH_PUSH, "PSH"),
    (dpkt.tcp.TH_ACK, "ACK"),
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame; time in nanoseconds since the epoch."""

    time: int
    interface: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment; `source` and `destination` are ADDRESS:PORT."""

    time: int
    source: str
    destination: str
    flags: frozenset[str]
    seq: int
    ack: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Captured:
    """One capture: frames, the kernel's socket table at the end, number of dropped frames."""

    frames: list[Frame]
    sockets: list[Mapping[str, int]] = field(default_factory=list)
    dropped: int = 0

    @property
    def segments(self) -> list[Segment]:
        """The TCP segments, in the order in which the kernel delivered them."""
        found = (read_segment(frame) for frame in self.frames)
        return [segment for segment in found if segment is not None]


def read_capture(lines: Iterable[str]) -> Captured:
    """Parse the agent's output: one frame per line, then a summary with sockets and drops."""
    frames: list[Frame] = []
    summary: dict[str, Any] = {}
    for line in lines:
        entry = json.loads(line)
        if "frame" in entry:
            data = base64.b64decode(entry["frame"])
            frames.append(Frame(entry["time"], entry["interface"], data))
        else:
            summary = entry
    return Captured(frames, summary.get("sockets", []), summary.get("dropped", 0))


def read_segment(frame: Frame) -> Segment | None:
    """Return the TCP segment in an Ethernet frame; None if there is none."""
    packet = dpkt.ethernet.Ethernet(frame.data).data
    if isinstance(packet, dpkt.ip.IP):
        family = socket.AF_INET
    elif isinstance(packet, dpkt.ip6.IP6):
        family = socket.AF_INET6
    else:
        return None
    tcp = packet.data
    if not isinstance(tcp, dpkt.tcp.TCP):
        return None
    source, destination = (
        normal(f"{socket.inet_ntop(family, host)}:{port}")
        for host, port in ((packet.src, tcp.sport), (packet.dst, tcp.dport))
    )
    flags = frozenset(name for bit, name in _NAMES if tcp.flags & bit)
    payload = bytes(tcp.data)
    return Segment(
        frame.time, source, destination, flags, tcp.seq, tcp.ack, payload
    )  # fmt: skip
