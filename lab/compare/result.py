"""The result of a comparison: one file, with a versioned schema described in SCHEMA.md.

    text = to_json(result)
    result = from_json(text)        # ValueError names the field and the schema version

Plain frozen data; reading and writing compute nothing, so a report made from the file equals the
report made after the run. Rates are per second, `_us` is microseconds, `_ms` milliseconds. Values
per request are divided by the answers of the same round. What was not measured is None or an empty
dict, never zero.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from lab.compare.reading import Unfit, read

SCHEMA: Final = 1
"""Raised when a field is removed or changes its meaning; not for a new field with a default."""

Verdict = Literal["valid", "generator-bound", "wrong-answers", "noisy", "errors", "unavailable"]
Mode = Literal["closed", "open"]
Metric = Literal["throughput", "cpu", "p99"]
Reached = Literal["loopback", "container-address", "published-port"]


@dataclass(frozen=True, slots=True)
class Interval:
    """The median of the rounds and the bounds of its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in ms, from sending (closed loop) or from the intended time (open loop)."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one part of the chain in one round; memory and counts are those at its end."""

    user_us: float
    """CPU in user mode, µs per request."""
    kernel_us: float
    """CPU in the kernel, µs per request."""
    switches: float | None = None
    """Context switches per request, of the threads that lived through the whole round."""
    resident_bytes: int | None = None
    """Summed over its processes; shared pages count once for each."""
    threads: int | None = None
    descriptors: int | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """The figures of one trial: one target in one round."""

    driver: str
    """"openloop", "wrk" or "locust"."""
    seconds: float
    answered: int
    """Requests answered, correctly or not."""
    rate: float
    """Answers per second."""
    latency: Latency
    """Includes failures and timeouts, with the time after which the driver gave up."""
    asked: int
    """Connections wanted."""
    established: int
    """Connections established before the start."""
    least: int | None
    """Answers on the connection that got the fewest; None: wrk and locust do not report it."""
    mean: float | None
    """Answers per connection; None: as for `least`."""
    errors: dict[str, int]
    """Requests without an answer, by kind: timeout, closed, reset, refused, ..."""
    wrong: dict[str, int]
    """Wrong answers by kind: status, body, framing."""
    evidence: list[str]
    """The first wrong answers."""
    generator_busy: float
    """CPU seconds per second of the busiest generator process; 1 is a whole core."""
    cost: dict[str, Cost]
    """By part: "front" (if there is one), "back", "generator"."""
    settled: bool = True
    """Whether the server had accepted the clients before the load began."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures to compare: medians of the rounds with their intervals."""

    driver: str
    """The driver of these rounds."""
    throughput: Interval
    """Answers per second."""
    cpu_us: Interval
    """CPU µs per request, user and kernel, of front and back end together."""
    p99_ms: Interval


@dataclass(frozen=True, slots=True)
class Check:
    """A rule, whether it holds for a cell, and why."""

    name: str
    holds: bool
    evidence: str
    """A sentence."""
    numbers: dict[str, float]


@dataclass(frozen=True, slots=True)
class Cell:
    """One architecture on one route with one number of connections, under one load.

    The peak that `of_peak` refers to is the throughput of the cell with mode "closed" and the same
    architecture, route and connections.
    """

    architecture: str
    front: str
    """"gateway", "nginx", or "none" for direct access."""
    route: str
    """The first part of the path: hello, wait, cpu, ...; the manifest has the whole path."""
    connections: int
    mode: Mode
    rate: float | None
    """Open loop: intended requests per second; None if the peak was not found."""
    of_peak: float | None
    """Open loop: `rate` as a share of its own peak; None: the rate is the same for all."""
    workers: int
    """The number it was started with; architectures without workers ignore it."""
    rounds: list[Round]
    histogram: str
    """Latency of all openloop rounds in µs: HdrHistogram V2, base64; "" if there is none."""
    summary: Summary | None
    """None: no round was completed with the server's cost."""
    verdict: Verdict
    notes: list[str]
    """What qualifies the figures: starved clients, behind its rate, ..."""
    checks: list[Check]
    system_calls: dict[str, dict[str, float]]
    """Calls per request by part and name, counted in a separate trial; {} if not counted."""
    calls_missing: str = ""
    """Why system calls, or those of one part, were not counted."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A target, as its Spec describes it."""

    name: str
    title: str
    family: str
    protocol: str
    """"http" or "fastcgi"."""
    front: str
    """As in `Cell`."""
    keep_alive: bool
    """Whether a connection carries more than one request; False: each also costs a handshake."""
    note: str
    """How its model differs, in words; "" if it does not."""
    unavailable: str
    """Why it could not run here or be measured; "" if it was measured."""
    idle_bytes: dict[str, float]
    """Memory per idle connection by part, and of the "kernel"; {} if not measured."""
    idle_missing: str = ""
    """Why idle memory, or that of one part, was not measured."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The generator's throughput on the baseline (C, epoll, a fixed answer) without a front."""

    driver: str
    connections: int
    rate: Interval
    """Answers per second."""


@dataclass(frozen=True, slots=True)
class Place:
    """A tie group: each member differs from its neighbour by no more than the noise."""

    place: int
    """1 is the best; a group of two at place 1 is followed by place 3."""
    architectures: list[str]
    """Sorted by median, best first; within a group this order means nothing."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The places on one route with one number of connections, under one load."""

    route: str
    connections: int
    rate: float | None
    """Open loop: intended requests per second, the same for all; None at a share of a peak."""
    of_peak: float | None
    """Open loop: the share of each architecture's own peak."""
    metric: Metric
    """throughput: more is better; cpu, p99: less is better."""
    places: list[Place]
    unplaced: dict[str, str]
    """Architectures without a place, and the verdict that is the reason."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """Two throughput curves that cross beyond the noise."""

    route: str
    first: str
    second: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """When, where and how it was measured: enough to repeat it."""

    started: str
    """ISO 8601, UTC."""
    seconds: float
    """How long the comparison took."""
    complete: bool
    """False: interrupted; cells may have fewer rounds than wanted."""
    command: str
    commit: str
    """With "+" if files had uncommitted changes; "" outside a repository."""
    seed: int
    """Of the random order of trials."""
    rounds: int
    """Wanted per cell."""
    duration: float
    """Seconds per trial."""
    paths: dict[str, str]
    """The requested path by route."""
    kernel: str
    cpu_model: str
    cores: int
    cpus: str
    """Which cores the generator and the servers used, in words."""
    governor: str
    """CPU frequency governor; "unknown" if the machine does not report it."""
    congestion: str
    """TCP congestion control."""
    limits: dict[str, str]
    """descriptors, somaxconn, ports, ..."""
    versions: dict[str, str]
    """Of python, nginx, wrk, ...; names of versions inside containers end in " in containers"."""
    reached: Reached = "loopback"
    """How the generator, which runs on the host, reaches the servers."""
    images: dict[str, str] = field(default_factory=dict)
    """With servers in containers: digest by image name, or the id of an image built here."""


@dataclass(frozen=True, slots=True)
class Result:
    """The whole result."""

    manifest: Manifest
    architectures: list[Architecture]
    ceilings: list[Ceiling]
    cells: list[Cell]
    standings: list[Standing]
    crossings: list[Crossing]


def to_json(result: Result) -> str:
    """Return the result as a file's text."""
    values: dict[str, Any] = {"schema": SCHEMA, **asdict(result)}
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> Result:
    """Read a file's text; ValueError names the field that does not fit and the known schema."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not a comparison's result: no JSON ({error})") from None
    found = values.pop("schema", None) if isinstance(values, dict) else None
    if found != SCHEMA:
        raise ValueError(f"schema: {found!r} is not {SCHEMA}, the only one that this version reads")
    try:
        result: Result = read(Result, values)
    except Unfit as error:
        raise ValueError(f"{error} (schema {SCHEMA})") from None
    return result
