"""Which connections there were between two lanes, and whose each packet and call is.

A TCP connection is known by the port of the part that accepted it. A unix connection is one whose
two sockets were used in two lanes; sockets between the processes of one part are that part's own.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Literal

from lab.trace.model import Call, Connection, Lane, LaneId, Packet, Side
from lab.trace.segments import Segment

_ORDER: Sequence[LaneId] = ("client", "front", "backend")


class Connections:
    """All of one run, numbered as they are found; calls find theirs by `of_call`."""

    def __init__(self, lanes: Sequence[Lane], client_ports: Set[int]) -> None:
        """Know the lanes; of those with the first part only the client's own, where it told them.

        Others ask it, too: a health check, a load.
        """
        self._client_ports = client_ports
        self._ports = {lane.port: lane.id for lane in lanes if lane.port}
        self._lanes = [lane.id for lane in lanes]
        self._known: dict[frozenset[str], Connection] = {}
        self._owners: dict[str, LaneId] = {}  # of a unix socket: the lane that used it

    @property
    def all(self) -> list[Connection]:
        """The connections."""
        return list(self._known.values())

    def note_owners(self, calls: Iterable[Call]) -> None:
        """Learn which lane uses which unix socket."""
        for call in calls:
            if call.local.startswith("unix:"):
                self._owners.setdefault(call.local, call.lane)

    def between(self, one: str, another: str) -> Connection | None:
        """Return the connection with these ends; None when it is none between two lanes."""
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
            asks = int(client.rpartition(":")[2])
            if self._before(lane) != "client" or asks in (self._client_ports or {asks}):
                return client, server, lane
        return None

    def _unix(self, one: str, another: str) -> tuple[str, str, LaneId] | None:
        owners = [(self._owners.get(end), end) for end in (one, another)]
        known = sorted((_ORDER.index(lane), lane, end) for lane, end in owners if lane is not None)
        if len(known) < 2 or known[0][1] == known[1][1]:
            return None
        return known[0][2], known[1][2], known[1][1]

    def assign(self, calls: Iterable[Call]) -> None:
        """Tell each call its connection and its side of it."""
        for call in calls:
            if call.local and call.remote:
                call.connection = self.between(call.local, call.remote)
                if call.connection:
                    call.side = call.connection.side_of(call.local)


def packets_of(segments: Iterable[Segment], connections: Connections) -> list[Packet]:
    """Return the segments as packets of connections; their numbers count from its first byte."""
    first: dict[tuple[int, Side], int] = {}
    found = []
    for segment in segments:
        connection = connections.between(segment.source, segment.destination)
        if connection is None:
            continue
        sender = connection.side_of(segment.source)
        receiver: Side = "server" if sender == "client" else "client"
        own, peer = (connection.number, sender), (connection.number, receiver)
        synchronises = "SYN" in segment.flags
        first.setdefault(own, segment.seq + synchronises)
        if "ACK" in segment.flags:
            first.setdefault(peer, segment.ack)
        seq = _distance(segment.seq, first[own])
        ack = _distance(segment.ack, first[peer]) if "ACK" in segment.flags else 0
        found.append(
            Packet(segment.time, connection, sender, segment.flags, seq, ack, segment.payload)
        )
    return found


def _distance(number: int, begin: int) -> int:
    """Return how far `number` is behind `begin`; both are counted modulo 2**32."""
    distance = (number - begin) & 0xFFFFFFFF
    return distance - (1 << 32) if distance >= 1 << 31 else distance
