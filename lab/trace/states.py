"""Derive the states of a TCP connection's two ends from its segments.

This is figure 5 of RFC 9293, seen from outside: an end's new state after it has sent or received a
segment. On the loopback interface, sending and receiving are one event. An end's FIN counts as
acknowledged when the other end's ACK covers it.

    open    SYN sent: SYN_SENT; SYN received: SYN_RECV; SYN ACK received: ESTABLISHED;
            ACK of the SYN ACK received: ESTABLISHED
    close   FIN sent first: FIN_WAIT1, ACK of it: FIN_WAIT2, FIN received: TIME_WAIT;
            FIN received first: CLOSE_WAIT, FIN sent: LAST_ACK, ACK of it: CLOSED;
            both FINs cross: CLOSING, then TIME_WAIT
    reset   RST: both CLOSED
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
"""The state numbers in /proc/net/tcp (include/net/tcp_states.h; 12 is TCP_NEW_SYN_RECV)."""


class Ends:
    """Both ends of one connection. They start as ESTABLISHED: it may be older than the trace."""

    def __init__(self) -> None:
        self.states: dict[Side, str] = {"client": "ESTABLISHED", "server": "ESTABLISHED"}
        self._fin: dict[Side, int] = {}  # the ack number that covers this end's FIN

    def see(self, packet: Packet) -> Iterator[tuple[Side, str]]:
        """Update the states with one segment; yield each end that changed, and its new state."""
        before = dict(self.states)
        sender, receiver = packet.sender, other(packet.sender)
        if "RST" in packet.flags:
            self.states = {"client": "CLOSED", "server": "CLOSED"}
        elif "SYN" in packet.flags:
            self._open(packet)
        else:
            if self.states[receiver] == "SYN_RECV":  # this is the third segment of the handshake
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
    """Return all state changes, and the final ends of each connection."""
    ends: dict[int, Ends] = {}
    found = []
    for packet in packets:
        pair = ends.setdefault(packet.connection.number, Ends())
        found += [
            Change(packet.time, packet.connection, side, state) for side, state in pair.see(packet)
        ]
    return found, ends


def compare_with_kernel(
    ends: Mapping[int, Ends],
    packets: Iterable[Packet],
    sockets: Iterable[Mapping[str, int]],
) -> list[dict[str, Any]]:
    """Return the last state of each end, from the segments and from the kernel's socket table.

    A closed socket is not in the table: its `kernel` state is "".
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
                continue  # the socket may be on another machine, or in another container
            agrees = state == (kernel or "CLOSED")
            rows.append(
                {"connection": number, "side": side, "packets": state, "kernel": kernel,
                 "agrees": agrees}
            )  # fmt: skip
    return rows
