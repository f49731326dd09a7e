"""The data model of a trace: lanes, connections, and events on one clock.

Times are nanoseconds since the epoch (CLOCK_REALTIME: the kernel's time stamps of packets, strace's
of calls, the client's of its steps). The JSON (`as_json`, SCHEMA.md) has seconds since the trace's
origin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Side: TypeAlias = Literal["client", "server"]
"""An end of a connection: the client connected, the server accepted."""

LaneId: TypeAlias = Literal["client", "front", "backend"]

Role: TypeAlias = Literal["read", "write", "connect", "accept", "close", "wait", "other"]


def other(side: Side) -> Side:
    """Return the other end."""
    return "server" if side == "client" else "client"


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a lane, at the start of the trace."""

    pid: int
    parent: int
    name: str


@dataclass(frozen=True, slots=True)
class Lane:
    """A column of the ladder: one part with all its processes."""

    id: LaneId
    title: str
    port: int = 0  # the TCP port it listens on; 0: it does not, or it listens on `path`
    path: str = ""
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection between two lanes; ends are ADDRESS:PORT or unix:INODE."""

    number: int
    kind: Literal["tcp", "unix"]
    ends: Mapping[Side, str]
    lanes: Mapping[Side, LaneId]

    def side_of(self, end: str) -> Side:
        """Return the side whose address is `end`."""
        return "client" if self.ends["client"] == end else "server"


@dataclass(slots=True)
class Packet:
    """A TCP segment; `seq` and `ack` count from the connection's first byte."""

    time: int
    connection: Connection
    sender: Side
    flags: frozenset[str]
    seq: int
    ack: int
    payload: bytes
    alone: int | None = None
    """When the same segment was sent in the run without strace: nanoseconds after its origin."""

    @property
    def length(self) -> int:
        """The number of payload bytes."""
        return len(self.payload)


@dataclass(slots=True)
class Call:
    """A system call.

    `end` is the earliest time it may have ended, but never before `ready`, when what it waited for
    arrived; `latest` is the latest time. `data` are the bytes that it moved, `offset` is their
    position in that direction of the connection.
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
    """Nanoseconds it slept, waiting."""

    @property
    def time(self) -> int:
        """Its time in the ladder: the end of a read, accept or wait, else the start."""
        if self.role in ("read", "accept", "wait") and self.end is not None:
            return self.end
        return self.start

    @property
    def phases(self) -> tuple[int, int]:
        """The two phases of a read, in ns: waiting for data, copying them.

        (0, 0) if unknown: the read slept, and what woke it was not seen.
        """
        unknown = self.slept and self.ready is None
        if self.role != "read" or self.end is None or not self.data or unknown:
            return 0, 0
        begin = self.start + self.slept
        return self.slept, self.end - begin

    @property
    def failed(self) -> bool:
        """Whether the call returned an error."""
        return self.result.startswith("-1")


@dataclass(slots=True)
class Message:
    """An HTTP head or body, or a FastCGI record; `time` is when its first byte was sent."""

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
    """A period in which a thread sleeps or runs."""

    lane: LaneId
    tid: int
    start: int
    end: int
    doing: Literal["sleeps", "runs"]


@dataclass(frozen=True, slots=True)
class Skew:
    """The offset between two sources' clocks: between `low` and `high`, in ns.

    `pairs` is the number of events of one source that must lie between two times of the other.
    """

    between: str
    low: int
    high: int
    pairs: int

    @property
    def skew(self) -> int:
        """The smallest offset that makes the sources agree; 0 if they agree already."""
        return max(self.low, 0) or min(self.high, 0)


@dataclass(frozen=True, slots=True)
class Missing:
    """A source that was not available: what is missing, and the remedy."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The response as the client saw it; times in nanoseconds since the client's first step."""

    status: int
    size: int
    connected: int
    first_byte: int
    done: int
    fields: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """The request: its URL, the parts that served it, and the options."""

    url: str
    front: str  # "": no front
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
    alone: Sequence[Answer]  # the answers in the run without strace
    traced: Sequence[Answer]  # the answers in the run under strace
    kernel_states: Sequence[Mapping[str, Any]] = ()
    missing: Sequence[Missing] = field(default=())

    def lane(self, lane_id: LaneId) -> Lane:
        """Return the lane with this id."""
        return next(lane for lane in self.lanes if lane.id == lane_id)
