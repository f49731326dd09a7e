"""Measurements of one driver process, recorded during a run.

Latencies are counted in a dict keyed by whole µs, rounded to four digits: hdrhistogram's
`record_value` is Python and as expensive as a system call; a dict costs a fifth of that. The
histograms are built from the dict at the end. They keep three digits, so nothing they would store
is lost.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from hdrh.histogram import HdrHistogram

STEP: Final = 0.1  # seconds of one step of the series
EVIDENCE: Final = 8  # wrong answers to keep
_EXACT: Final = 10_000  # µs; above it four digits are kept


class Times:
    """How often each time was seen."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: defaultdict[int, int] = defaultdict(int)

    def add(self, seconds: float) -> None:
        """Count a time."""
        us = int(seconds * 1e6 + 0.5)
        if us >= _EXACT:
            us -= us % 10 ** (len(str(us)) - 4)
        self._counts[us] += 1

    def encode(self) -> str:
        """Return the times as an encoded histogram of µs."""
        histogram = empty_histogram()
        for us, count in self._counts.items():
            histogram.record_value(us, count)
        return encode(histogram)


def empty_histogram() -> HdrHistogram:
    """Return a histogram of 1 µs to 2 hours with three significant digits."""
    return HdrHistogram(1, 7_200_000_000, 3)


def encode(histogram: HdrHistogram) -> str:
    """Return a histogram in HdrHistogram's own form (V2, compressed, base64)."""
    return str(histogram.encode().decode("ascii"))


@dataclass(slots=True)
class Step:
    """The requests that ended in one STEP."""

    answered: int = 0
    failed: int = 0
    worst: float = 0.0  # seconds of latency, including failures


@dataclass(slots=True)
class Record:
    """Counts of one process."""

    intended: int = 0  # sent, or timed out unsent
    sent: int = 0
    waited: int = 0  # found no free connection at their time
    answered: int = 0  # correctly or not
    opened: int = 0
    established: int = 0  # before the start
    closed_idle: int = 0  # by the server between two requests: not an error
    unconnected: Counter[str] = field(default_factory=Counter)  # before the start, by kind
    errors: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    evidence: list[str] = field(default_factory=list)
    latency: Times = field(default_factory=Times)
    lateness: Times = field(default_factory=Times)
    series: list[Step] = field(default_factory=lambda: [Step()])
    step: Step = field(init=False)  # the last of the series

    def __post_init__(self) -> None:
        self.step = self.series[-1]

    def roll(self, seconds: float) -> None:
        """Begin the steps due `seconds` after the start."""
        while len(self.series) <= seconds / STEP + 1e-6:
            self.step = Step()
            self.series.append(self.step)

    def answer(self, latency: float) -> None:
        """Count an answer."""
        self.answered += 1
        self.latency.add(latency)
        step = self.step
        step.answered += 1
        if latency > step.worst:
            step.worst = latency

    def error(self, kind: str, after: float) -> None:
        """Count an unanswered request, which failed `after` seconds from its intended time."""
        self.errors[kind] += 1
        self.latency.add(after)
        self.step.failed += 1
        self.step.worst = max(self.step.worst, after)

    def wrong_answer(self, kind: str, detail: str) -> None:
        """Count a wrong answer, in addition to `answer`; keep the first as evidence."""
        self.wrong[kind] += 1
        if len(self.evidence) < EVIDENCE:
            self.evidence.append(f"{kind}: {detail}")
