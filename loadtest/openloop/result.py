"""The result of a run, of one process or of all: can be merged, stored as JSON, printed as text.

Times are in seconds unless the name ends in `_us` (microseconds). Histograms are stored in
HdrHistogram's own encoding, which its tools can read, and can be merged across rounds.
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
    """CPU time of a driver process between start and end, and its wait for a CPU."""

    user: float
    system: float
    waiting: float  # runnable without a CPU (from /proc/self/schedstat, 0 without it)
    elapsed: float

    @property
    def busy(self) -> float:
        """The fraction of time with work to do; near 1, the driver is the bottleneck."""
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
    """The result of a run, or of one of its processes."""

    begun: float  # on the machine's monotonic clock
    elapsed: float  # the plan's duration, or until the last request ended if that was later
    intended: int  # requests that should have been sent
    sent: int
    answered: int  # correctly or not
    waited: int  # found no free connection at their time
    errors: dict[str, int]  # requests without an answer, by kind
    wrong: dict[str, int]  # wrong answers, by kind: status, body, framing
    evidence: list[str]  # the first wrong answers
    connections: int  # wanted
    established: int  # before the start
    unconnected: dict[str, int]  # before the start, by kind
    opened: int  # in all
    closed_idle: int  # by the server between two requests
    per_connection: list[int]  # answers on each
    cpu: list[Cpu]  # of each process
    latency: str  # encoded histogram of µs from the intended time to the end, with failures
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
        """Whether every request was answered correctly."""
        return not self.errors and not self.wrong

    def latency_us(self, percentile: float) -> int:
        """Return a percentile of the latency."""
        return int(HdrHistogram.decode(self.latency).get_value_at_percentile(percentile))

    def lateness_us(self, percentile: float) -> int:
        """Return a percentile of the lateness."""
        return int(HdrHistogram.decode(self.lateness).get_value_at_percentile(percentile))

    def as_json(self, plan: Plan) -> dict[str, Any]:
        """Return the plan, all fields and the computed values, for a file."""
        settings = {
            name: getattr(plan, name)
            for name in ("rate", "arrivals", "seed", "duration", "limit", "timeout", "keep")
        }
        target = {"address": plan.target.address, "path": plan.target.path}
        return {
            "schema": SCHEMA,
            "driver": "openloop",
            "mode": "closed" if plan.rate is None else "open",
            "plan": {**target, **settings, "processes": plan.processes},
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


def merge(results: Sequence[Result]) -> Result:
    """Merge the results of processes that ran at the same time."""
    return Result(
        begun=min(result.begun for result in results),
        elapsed=max(result.elapsed for result in results),
        errors=_add([result.errors for result in results]),
        wrong=_add([result.wrong for result in results]),
        unconnected=_add([result.unconnected for result in results]),
        evidence=[text for result in results for text in result.evidence][:EVIDENCE],
        per_connection=[count for result in results for count in result.per_connection],
        cpu=[cpu for result in results for cpu in result.cpu],
        latency=merge_histograms([result.latency for result in results]),
        lateness=merge_histograms([result.lateness for result in results]),
        series=_merge_series([result.series for result in results]),
        **{name: sum(getattr(result, name) for result in results) for name in _COUNTS},
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
