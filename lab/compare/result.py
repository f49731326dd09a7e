"""What a comparison found: one file, whose schema is versioned and described in SCHEMA.md.

    text = to_json(result)
    result = from_json(text)        # ValueError: names the field, and the version

Plain frozen data: numbers with their unit in the name, nothing computed on the way in or out, so
that a report drawn from the file is the one that was drawn after the run. Rates are per second,
`_us` is microseconds, `_ms` milliseconds, whatever is "per request" was divided by the answers of
the same round. What was not measured is None, or an empty dict; it is never zero.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from lab.compare.reading import Unfit, read

SCHEMA: Final = 1
"""Raised when a field changes its meaning or goes; a new field with a default leaves it."""

Verdict = Literal["valid", "generator-bound", "wrong-answers", "noisy", "errors", "unavailable"]
Mode = Literal["closed", "open"]
Metric = Literal["throughput", "cpu", "p99"]
Reached = Literal["loopback", "container-address", "published-port"]


@dataclass(frozen=True, slots=True)
class Interval:
    """The median of the rounds, and the bounds of its 95 % interval (bootstrap)."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in ms; closed loop: from sending, open loop: from the intended time."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What one part of the chain cost in one round; memory and counts at its end."""

    user_us: float
    """CPU in user mode, µs per request."""
    kernel_us: float
    """CPU in the kernel, µs per request."""
    switches: float | None = None
    """Context switches per request, of all its threads that lived through the round."""
    resident_bytes: int | None = None
    """Of all its processes; what they share counts for each."""
    threads: int | None = None
    descriptors: int | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of one architecture."""

    driver: str
    """"openloop" or "wrk"."""
    seconds: float
    answered: int
    """Requests, rightly or wrongly."""
    rate: float
    """Answers per second."""
    latency: Latency
    """Failures and timeouts are in it, with the time after which they were given up."""
    asked: int
    """Connections wanted."""
    established: int
    """Connections there were before the start."""
    least: int | None
    """Answers on the connection that got the fewest; wrk does not say."""
    mean: float | None
    """Answers for each connection."""
    errors: dict[str, int]
    """Requests without an answer, by kind: timeout, closed, reset, refused, ..."""
    wrong: dict[str, int]
    """Wrong answers by kind: status, body, framing."""
    evidence: list[str]
    """The first wrong answers."""
    generator_busy: float
    """Of the busiest generator process: CPU seconds per second; 1 is a whole core."""
    cost: dict[str, Cost]
    """By part: "front" (where there is one), "back", "generator"."""
    settled: bool = True
    """Whether the server had taken the connected clients when the load began, or waiting ended."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What counts: medians of the rounds with their intervals."""

    driver: str
    """Whose rounds these are."""
    throughput: Interval
    """Answers per second."""
    cpu_us: Interval
    """CPU µs per request of front and back end together, user and kernel."""
    p99_ms: Interval


@dataclass(frozen=True, slots=True)
class Check:
    """A rule, whether it holds for a cell, and what it was decided by."""

    name: str
    holds: bool
    evidence: str
    """A sentence."""
    numbers: dict[str, float]


@dataclass(frozen=True, slots=True)
class Cell:
    """One architecture on one route with one number of connections, under one load.

    At a share of its own peak: that of the cell with mode "closed" beside it, which is what the
    peak rests on, round by round.
    """

    architecture: str
    front: str
    """"gateway", "nginx", or "none": asked straight."""
    route: str
    """The first part of the path: hello, wait, cpu, ...; the whole is in the manifest."""
    connections: int
    mode: Mode
    rate: float | None
    """Open loop: intended requests per second; None at a share of a peak that was not found."""
    of_peak: float | None
    """Open loop: the share of its own peak that `rate` is; None: the rate is the same for all."""
    workers: int
    """What it was started with; who has no workers takes no notice."""
    rounds: list[Round]
    histogram: str
    """Latency of all openloop rounds in µs: HdrHistogram V2, base64; "" where there is none."""
    summary: Summary | None
    """None: no round was completed."""
    verdict: Verdict
    notes: list[str]
    """What else must be known to read the figures: starved clients, behind its rate, ..."""
    checks: list[Check]
    system_calls: dict[str, dict[str, float]]
    """Calls per request by name, by part; counted in a turn of its own, {} where it was not."""
    calls_missing: str = ""
    """Why they, or those of a part, were not counted."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A contestant, as its Spec describes it."""

    name: str
    title: str
    family: str
    protocol: str
    """"http" or "fastcgi"."""
    front: str
    """As in its cells."""
    keep_alive: bool
    """Whether a connection carries more than one request; False: each cost a handshake too."""
    note: str
    """What differs by its model, in words; "" for nothing."""
    unavailable: str
    """Why it could not run here, or not be measured; "": it was."""
    idle_bytes: dict[str, float]
    """Memory per idle connection by part, and of the "kernel"; {} where it was not measured."""
    idle_missing: str = ""
    """Why it, or that of a part, was not measured."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the generator gets from a null server (C, epoll, a fixed answer), asked straight."""

    driver: str
    connections: int
    rate: Interval
    """Answers per second."""


@dataclass(frozen=True, slots=True)
class Place:
    """A tie group: nobody in it is apart from its neighbour by more than the noise."""

    place: int
    """1 is the best; after a group of two comes the third place."""
    architectures: list[str]
    """The better median first, which within a group means nothing."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The places on one route with one number of connections, under one load."""

    route: str
    connections: int
    rate: float | None
    """Open loop: intended requests per second, the same for all; None at a share of each one's."""
    of_peak: float | None
    """Open loop: the share of each one's own peak."""
    metric: Metric
    """throughput: more is better; cpu, p99: less is."""
    places: list[Place]
    unplaced: dict[str, str]
    """Who has no place, and the verdict that says why."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """Two curves that cross beyond the noise."""

    route: str
    first: str
    second: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where, when and how; what it takes to repeat it."""

    started: str
    """ISO 8601, UTC."""
    seconds: float
    """How long it took."""
    complete: bool
    """False: it was interrupted; cells have fewer rounds than wanted."""
    command: str
    commit: str
    """With "+" when files were changed since; "" outside a repository."""
    seed: int
    """Of the order of turns."""
    rounds: int
    """Wanted for each cell."""
    duration: float
    """Seconds of a turn."""
    paths: dict[str, str]
    """The path asked for, by route."""
    kernel: str
    cpu_model: str
    cores: int
    cpus: str
    """Which cores the generator and the servers had, in words."""
    governor: str
    """Of the CPU's frequency; "unknown" where the machine does not say."""
    congestion: str
    """TCP congestion control."""
    limits: dict[str, str]
    """descriptors, somaxconn, ports, ..."""
    versions: dict[str, str]
    """Of what took part: python, nginx, wrk, ...; of containers with "in containers" after it."""
    reached: Reached = "loopback"
    """How the generator, which is on the machine, gets to the servers."""
    images: dict[str, str] = field(default_factory=dict)
    """Digest by image name, where servers ran in containers; of one built here, its id."""


@dataclass(frozen=True, slots=True)
class Result:
    """Everything."""

    manifest: Manifest
    architectures: list[Architecture]
    ceilings: list[Ceiling]
    cells: list[Cell]
    standings: list[Standing]
    crossings: list[Crossing]


def to_json(result: Result) -> str:
    """Return the file's text."""
    values: dict[str, Any] = {"schema": SCHEMA, **asdict(result)}
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> Result:
    """Read a file's text; ValueError says which field does not fit, and which schema is known."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"no comparison's result: no JSON ({error})") from None
    found = values.pop("schema", None) if isinstance(values, dict) else None
    if found != SCHEMA:
        raise ValueError(f"schema: {found!r} is not {SCHEMA}, which is all that this version reads")
    try:
        result: Result = read(Result, values)
    except Unfit as error:
        raise ValueError(f"{error} (schema {SCHEMA})") from None
    return result
