"""Find the connections between lanes, and assign each packet and call to its connection.

A TCP connection is recognised by the port of the part that accepted it. A unix connection is one
whose two sockets are used in two different lanes; sockets between processes of one part are
internal to that part.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Literal

from lab.trace.model import Call, Connection, Lane, LaneId, Packet, Side
from lab.trace.segments import Segment

_ORDER: Sequence[LaneId] = ("client", "front", "backend")


class Connections:
    """All connections of one run, numbered in the order in which they are found."""

    def __init__(self, lanes: Sequence[Lane], client_ports: Set[int]) -> None:
        """Of the connections to the first part, keep only those from `client_ports`, if known.

        Others may connect to that part too: a health check, a load test.
        """
        self._client_ports = client_ports
        self._ports = {lane.port: lane.id for lane in lanes if lane.port}
        self._lanes = [lane.id for lane in lanes]
        self._known: dict[frozenset[str], Connection] = {}
        self._owners: dict[str, LaneId] = {}  # unix socket → the lane that uses it

    @property
    def all(self) -> list[Connection]:
        """The connections."""
        return list(self._known.values())

    def note_owners(self, calls: Iterable[Call]) -> None:
        """Note which lane uses which unix socket."""
        for call in calls:
            if call.local.startswith("unix:"):
                self._owners.setdefault(call.local, call.lane)

    def between(self, one: str, another: str) -> Connection | None:
        """Return the connection with these ends; None if it does not join two lanes."""
        key = frozenset((one, another))
        if key not in self._known:
            ends = self._tcp(one, another) or self._unix(one, another)
            if ends is None:
                return None
            client, server, lane = ends
            kind: Literal["tcp", "unix"] = "unix" if client.startswith("unix:") else "tcp"
            lanes: Mapping[Side, LaneId] = {"client": self._before(lane), "server": lane}
            self._known[key] = Connection(
                len(self._known) + 1, kind, {"client": client, "server": server}, lanes
            )  # fmt: skip
        return self._known[key]

    def _before(self, lane: LaneId) -> LaneId:
        return self._lanes[max(self._lanes.index(lane) - 1, 0)]

    def _tcp(self, one: str, another: str) -> tuple[str, str, LaneId] | None:
        for client, server in ((one, another), (another, one)):
            port = server.rpartition(":")[2]
            lane = self._ports.get(int(port)) if port.isdigit() else None
            if lane is None or server.startswith("unix:"):
                continue
            client_port = int(client.rpartition(":")[2])
            ours = not self._client_ports or client_port in self._client_ports
            if self._before(lane) != "client" or ours:
                return client, server, lane
        return None

    def _unix(self, one: str, another: str) -> tuple[str, str, LaneId] | None:
        owners = [(self._owners.get(end), end) for end in (one, another)]
        known = sorted((_ORDER.index(lane), lane, end) for lane, end in owners if lane is not None)
        if len(known) < 2 or known[0][1] == known[1][1]:
            return None
        return known[0][2], known[1][2], known[1][1]

    def assign(self, calls: Iterable[Call]) -> None:
        """Set each call's connection and side."""
        for call in calls:
            if call.local and call.remote:
                call.connection = self.between(call.local, call.remote)
                if call.connection:
                    call.side = call.connection.side_of(call.local)


def packets_of(segments: Iterable[Segment], connections: Connections) -> list[Packet]:
    """Turn segments into packets with relative sequence numbers; drop those of no connection."""
    first: dict[tuple[int, Side], int] = {}
    found = []
    for segment in segments:
        connection = connections.between(segment.source, segment.destination)
        if connection is None:
            continue
        sender = connection.side_of(segment.source)
        receiver: Side = "server" if sender == "client" else "client"
        own, peer = (connection.number, sender), (connection.number, receiver)
        # A SYN occupies one sequence number; the first byte comes after it.
        first.setdefault(own, segment.seq + ("SYN" in segment.flags))
        if "ACK" in segment.flags:
            first.setdefault(peer, segment.ack)
        seq = _distance(segment.seq, first[own])
        ack = _distance(segment.ack, first[peer]) if "ACK" in segment.flags else 0
        found.append(
            Packet(segment.time, connection, sender, segment.flags, seq, ack, segment.payload)
        )
    return found


def _distance(number: int, begin: int) -> int:
    """Return `number - begin`, with both modulo 2**32; negative if `number` precedes `begin`."""
    distance = (number - begin) & 0xFFFFFFFF
    return distance - (1 << 32) if distance >= 1 << 31 else distance
