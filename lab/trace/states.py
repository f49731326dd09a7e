"""The states of a TCP connection's two ends, from the segments between them.

The table is RFC 9293's figure 5, seen from outside: what an end's state becomes when it has sent,
or has received, a segment with this flag. On the loopback interface both happen at one moment; an
end's FIN is acknowledged when the other end's ACK covers it.

    opens    SYN sent: SYN_SENT, received: SYN_RECV; SYN and ACK received: ESTABLISHED;
             the ACK of it received: ESTABLISHED
    closes   FIN sent first: FIN_WAIT1, its ACK: FIN_WAIT2, the other's FIN: TIME_WAIT;
             FIN received first: CLOSE_WAIT, own FIN: LAST_ACK, its ACK: CLOSED;
             both at once: CLOSING, then TIME_WAIT
    resets   RST: CLOSED, both
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from lab.trace.model import Change, Packet, Side, other

_What = Literal["sent FIN", "got FIN", "got ACK of FIN"]

_CLOSING: Final[Mapping[tuple[str, _What], str]] = {
    ("ESTABLISHED", "sent FIN"): "FIN_WAIT1",
    ("SYN_RECV", "sent FIN"): "FIN_WAIT1",
    ("CLOSE_WAIT", "sent FIN"): "LAST_ACK",
    ("ESTABLISHED", "got FIN"): "CLOSE_WAIT",
    ("FIN_WAIT1", "got FIN"): "CLOSING",
    ("FIN_WAIT2", "got FIN"): "TIME_WAIT",
    ("FIN_WAIT1", "got ACK of FIN"): "FIN_WAIT2",
    ("CLOSING", "got ACK of FIN"): "TIME_WAIT",
    ("LAST_ACK", "got ACK of FIN"): "CLOSED",
}

KERNEL: Final = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2",
    6: "TIME_WAIT", 7: "CLOSED", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
    12: "SYN_RECV",
}  # fmt: skip
"""What the numbers of /proc/net/tcp mean (include/net/tcp_states.h)."""


class Ends:
    """Both ends of one connection. One that was there before the trace is ESTABLISHED."""

    def __init__(self) -> None:
        self.states: dict[Side, str] = {"client": "ESTABLISHED", "server": "ESTABLISHED"}
        self._fin: dict[Side, int] = {}  # the number that acknowledges this end's FIN

    def see(self, packet: Packet) -> Iterator[tuple[Side, str]]:
        """Yield each end that changes its state with this segment, and the new one."""
        before = dict(self.states)
        sender, receiver = packet.sender, other(packet.sender)
        if "RST" in packet.flags:
            self.states = {"client": "CLOSED", "server": "CLOSED"}
        elif "SYN" in packet.flags:
            self._open(packet)
        else:
            if self.states[receiver] == "SYN_RECV":
                self.states[receiver] = "ESTABLISHED"
            if "ACK" in packet.flags and packet.ack >= self._fin.get(receiver, packet.ack + 1):
                self._step(receiver, "got ACK of FIN")
            if "FIN" in packet.flags:
                self._fin.setdefault(sender, packet.seq + packet.length + 1)
                self._step(sender, "sent FIN")
                self._step(receiver, "got FIN")
        sides: tuple[Side, Side] = ("client", "server")
        yield from (
            (side, self.states[side]) for side in sides if self.states[side] != before[side]
        )

    def _open(self, packet: Packet) -> None:
        if "ACK" in packet.flags:
            self.states[other(packet.sender)] = "ESTABLISHED"
        else:
            self.states = {"client": "SYN_SENT", "server": "SYN_RECV"}

    def _step(self, side: Side, what: _What) -> None:
        self.states[side] = _CLOSING.get((self.states[side], what), self.states[side])


def changes(packets: Iterable[Packet]) -> tuple[list[Change], dict[int, Ends]]:
    """Return every change that the segments cause, and each connection's ends after them."""
    ends: dict[int, Ends] = {}
    found = []
    for packet in packets:
        of = ends.setdefault(packet.connection.number, Ends())
        found += [
            Change(packet.time, packet.connection, side, state) for side, state in of.see(packet)
        ]
    return found, ends


def compare_with_kernel(
    ends: Mapping[int, Ends],
    packets: Iterable[Packet],
    sockets: Iterable[Mapping[str, int]],
) -> list[dict[str, Any]]:
    """Return the last state of each end by the segments, and by the kernel's table of sockets.

    A closed socket is in no table: the kernel's word is "" then.
    """
    table = {(row["local"], row["remote"]): KERNEL.get(row["state"], "?") for row in sockets}
    connections = {packet.connection.number: packet.connection for packet in packets}
    rows = []
    for number, of in sorted(ends.items()):
        ports = {
            side: int(end.rpartition(":")[2]) for side, end in connections[number].ends.items()
        }
        hosts = {end.rpartition(":")[0] for end in connections[number].ends.values()}
        for side, state in of.states.items():
            kernel = table.get((ports[side], ports[other(side)]), "")
            if not kernel and len(hosts) > 1:
                continue  # perhaps it is in another machine's table, or container's
            agrees = state == (kernel or "CLOSED")
            rows.append(
                {"connection": number, "side": side, "packets": state, "kernel": kernel,
                 "agrees": agrees}
            )  # fmt: skip
    return rows
