"""What a trace is: lanes, connections, and what happened on them, on one clock.

Times inside are nanoseconds since the epoch (CLOCK_REALTIME, which the kernel stamps packets with,
strace its lines and the client its steps). The JSON (`as_json`, and SCHEMA.md) counts seconds from
the trace's origin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Side: TypeAlias = Literal["client", "server"]
"""An end of a connection: who connected, who accepted."""

LaneId: TypeAlias = Literal["client", "front", "backend"]

Role: TypeAlias = Literal["read", "write", "connect", "accept", "close", "wait", "other"]


def other(side: Side) -> Side:
    """Return the other end."""
    return "server" if side == "client" else "client"


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a lane when the trace began."""

    pid: int
    parent: int
    name: str


@dataclass(frozen=True, slots=True)
class Lane:
    """A column of the ladder: one part, with all of its processes."""

    id: LaneId
    title: str
    port: int = 0  # where it listens; 0: nowhere, or at `path`
    path: str = ""
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection between two lanes; the ends are ADDRESS:PORT, or unix:INODE."""

    number: int
    kind: Literal["tcp", "unix"]
    ends: Mapping[Side, str]
    lanes: Mapping[Side, LaneId]

    def side_of(self, end: str) -> Side:
        """Return which end `end` is."""
        return "client" if self.ends["client"] == end else "server"


@dataclass(slots=True)
class Packet:
    """A TCP segment on a connection; `seq` and `ack` count from that connection's first byte."""

    time: int
    connection: Connection
    sender: Side
    flags: frozenset[str]
    seq: int
    ack: int
    payload: bytes
    alone: int | None = None
    """Nanoseconds after the origin of the run without strace, of the same segment there."""

    @property
    def length(self) -> int:
        """How many bytes of content it has."""
        return len(self.payload)


@dataclass(slots=True)
class Call:
    """A system call.

    `end` is the earliest moment it may have ended, but never before what it waited for, `ready`.
    `data` are the bytes that it moved, `offset` their place among all of that connection's.
    """

    lane: LaneId
    tid: int
    name: str
    text: str
    result: str
    role: Role
    start: int
    end: int | None
    latest: int | None
    descriptor: int | None = None
    local: str = ""
    remote: str = ""
    data: bytes = b""
    offset: int = 0
    connection: Connection | None = None
    side: Side | None = None
    ready: int | None = None
    slept: int = 0
    """Nanoseconds that it slept, waiting."""

    @property
    def time(self) -> int:
        """Where it stands in the ladder: what waits or reads, at its end; else at its start."""
        if self.role in ("read", "accept", "wait") and self.end is not None:
            return self.end
        return self.start

    @property
    def phases(self) -> tuple[int, int]:
        """The two phases of a read, in ns: until its data were there, and until it had them.

        Nothing is known of them (0, 0) when it slept and nobody was seen to wake it.
        """
        unknown = self.slept and self.ready is None
        if self.role != "read" or self.end is None or not self.data or unknown:
            return 0, 0
        begin = self.start + self.slept
        return self.slept, self.end - begin

    @property
    def failed(self) -> bool:
        """Whether the kernel refused."""
        return self.result.startswith("-1")


@dataclass(slots=True)
class Message:
    """An HTTP head or body, or a FastCGI record, where its first byte was sent."""

    time: int
    connection: Connection
    sender: Side
    protocol: Literal["http", "fastcgi", "bytes"]
    name: str
    text: str
    offset: int
    length: int
    fields: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Change:
    """A socket's new state (tcp(7), RFC 9293 section 3.3.2)."""

    time: int
    connection: Connection
    side: Side
    state: str


@dataclass(slots=True)
class Note:
    """A signal, or the end of a process."""

    time: int
    lane: LaneId
    tid: int
    text: str


Event: TypeAlias = Packet | Call | Message | Change | Note


@dataclass(frozen=True, slots=True)
class Span:
    """What a thread did for a while."""

    lane: LaneId
    tid: int
    start: int
    end: int
    doing: Literal["sleeps", "runs"]


@dataclass(frozen=True, slots=True)
class Skew:
    """What must be added to one clock for both sources to agree: between `low` and `high`, ns.

    `pairs` are the moments at which one source's time must lie between two of the other's.
    """

    between: str
    low: int
    high: int
    pairs: int

    @property
    def skew(self) -> int:
        """The least that must be added: 0 when the sources agree as they are."""
        return max(self.low, 0) or min(self.high, 0)


@dataclass(frozen=True, slots=True)
class Missing:
    """A source that there was not: what lacks, and what helps."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client got, and how long it took, in nanoseconds from its first step."""

    status: int
    size: int
    connected: int
    first_byte: int
    done: int
    fields: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, of whom, and how."""

    url: str
    front: str  # "" when there is none
    backend: str
    count: int
    reuse: bool
    client: str


@dataclass(slots=True)
class Trace:
    """A whole trace."""

    asked: Asked
    origin: int
    end: int
    lanes: Sequence[Lane]
    connections: Sequence[Connection]
    events: Sequence[Event]
    spans: Sequence[Span]
    skews: Sequence[Skew]
    alone: Sequence[Answer]  # of the run without strace
    traced: Sequence[Answer]  # of the run with it
    kernel_states: Sequence[Mapping[str, Any]] = ()
    missing: Sequence[Missing] = field(default=())

    def lane(self, lane_id: LaneId) -> Lane:
        """Return a lane."""
        return next(lane for lane in self.lanes if lane.id == lane_id)
