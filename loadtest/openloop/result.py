"""What a run found, of one process or of all: adds up, is stored as JSON, is told in lines.

Times are in seconds where the name says nothing, `_us` is microseconds. Histograms are kept in
HdrHistogram's own encoded form, which its tools read; they can be added up across rounds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from hdrh.histogram import HdrHistogram

from loadtest.openloop.plan import Plan
from loadtest.openloop.record import EVIDENCE, STEP, empty_histogram, encode

SCHEMA: Final = 1
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 100.0)


@dataclass(frozen=True, slots=True)
class Cpu:
    """What a process of the driver used between start and end, and what it had to wait for."""

    user: float
    system: float
    waiting: float  # it had work, and others had the CPU (/proc/self/schedstat; else 0)
    elapsed: float

    @property
    def busy(self) -> float:
        """The part of the time in which it had work: near 1 the driver is the bottleneck."""
        used = self.user + self.system + self.waiting
        return used / self.elapsed if self.elapsed else 0.0


@dataclass(slots=True)
class Series:
    """Requests that ended in each step; failures are in `failed` and in `worst_us`."""

    step: float = STEP
    answered: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    worst_us: list[int] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Result:
    """A run, or one process's part of it."""

    begun: float  # of the machine's monotonic clock
    elapsed: float  # the plan's duration, or until the last request ended where that was later
    intended: int  # requests that should have been sent
    sent: int
    answered: int  # rightly or wrongly
    waited: int  # found no free connection at their time
    errors: dict[str, int]  # requests without an answer, by kind
    wrong: dict[str, int]  # wrong answers, by kind: status, body, framing
    evidence: list[str]  # the first wrong answers
    connections: int  # asked for
    established: int  # before the start
    unconnected: dict[str, int]  # before the start, by kind
    opened: int  # in all
    closed_idle: int  # by the server between two requests
    per_connection: list[int]  # answers
    cpu: list[Cpu]  # of each process
    latency: str  # encoded histogram of µs from the intended time to the end, failures too
    lateness: str  # encoded histogram of µs by which the driver itself sent late
    series: Series

    @property
    def achieved(self) -> float:
        """Answers per second."""
        return self.answered / self.elapsed if self.elapsed else 0.0

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return sum(self.errors.values())

    @property
    def right(self) -> bool:
        """Whether every request was answered, and rightly."""
        return not self.errors and not self.wrong

    def latency_us(self, percentile: float) -> int:
        """Return a percentile of the latency."""
        return int(HdrHistogram.decode(self.latency).get_value_at_percentile(percentile))

    def lateness_us(self, percentile: float) -> int:
        """Return a percentile of the lateness."""
        return int(HdrHistogram.decode(self.lateness).get_value_at_percentile(percentile))

    def as_json(self, plan: Plan) -> dict[str, Any]:
        """Return it for a file: the plan, all fields, and what is computed from them."""
        told = {
            name: getattr(plan, name)
            for name in ("rate", "arrivals", "seed", "duration", "limit", "timeout", "keep")
        }
        target = {"address": plan.target.address, "path": plan.target.path}
        return {
            "schema": SCHEMA,
            "driver": "openloop",
            "mode": "closed" if plan.rate is None else "open",
            "plan": {**target, **told, "processes": plan.processes},
            "achieved": self.achieved,
            "failed": self.failed,
            "latency_us": {f"{each:g}": self.latency_us(each) for each in PERCENTILES},
            "lateness_us": {f"{each:g}": self.lateness_us(each) for each in PERCENTILES},
            **asdict(self),
        }


def merge_histograms(encoded: Sequence[str]) -> str:
    """Return the sum of encoded histograms."""
    total = empty_histogram()
    for each in encoded:
        total.decode_and_add(each)
    return encode(total)


def merge(parts: Sequence[Result]) -> Result:
    """Return the result of processes that ran at the same time."""
    return Result(
        begun=min(part.begun for part in parts),
        elapsed=max(part.elapsed for part in parts),
        errors=_add([part.errors for part in parts]),
        wrong=_add([part.wrong for part in parts]),
        unconnected=_add([part.unconnected for part in parts]),
        evidence=[text for part in parts for text in part.evidence][:EVIDENCE],
        per_connection=[count for part in parts for count in part.per_connection],
        cpu=[cpu for part in parts for cpu in part.cpu],
        latency=merge_histograms([part.latency for part in parts]),
        lateness=merge_histograms([part.lateness for part in parts]),
        series=_merge_series([part.series for part in parts]),
        **{name: sum(getattr(part, name) for part in parts) for name in _COUNTS},
    )


_COUNTS: Final = (
    "intended", "sent", "answered", "waited", "connections", "established", "opened", "closed_idle",
)  # fmt: skip


def _add(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _merge_series(all_series: Sequence[Series]) -> Series:
    length = max(len(each.answered) for each in all_series)

    def column(name: str) -> list[list[int]]:
        lists = [getattr(each, name) for each in all_series]
        return [[each[at] for each in lists if at < len(each)] for at in range(length)]

    return Series(
        answered=[sum(step) for step in column("answered")],
        failed=[sum(step) for step in column("failed")],
        worst_us=[max(step) for step in column("worst_us")],
    )
