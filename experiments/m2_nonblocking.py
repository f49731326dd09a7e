"""M2: nonblocking I/O returns an error at once, and the process keeps polling.

A datagram that arrives after 2, 5, 10, 20 or 50 ms is read by polling a nonblocking socket, and by
a blocking call. The EAGAIN results and the CPU time are compared with the length of the wait.
"""

from collections.abc import Sequence
from typing import Final

from chainlab.pages.charts import Chart
from experiments.drawing import lines
from experiments.frame import NOT_MEASURED, Experiment, Finding, Limits, Numbers, verdict
from experiments.reading import read_once

DELAYS: Final = (0.002, 0.005, 0.01, 0.02, 0.05)
"""Seconds until the datagram is sent."""

GROWS: Final = 3.0
"""Least ratio of EAGAINs in the longest wait to those in the shortest. It is 25 times as long; a
count that does not grow with the wait stays near 1."""

LONGER: Final = 8.0
"""Least ratio of the longest wait to the shortest; below it there is too little to compare. A busy
machine prolongs short waits."""

DEARER: Final = 5.0
"""Least CPU ratio of polling to sleeping, in the longest wait. Sleeping costs two switches however
long it lasts; the cost of polling grows with the wait."""

_TIMES: Final = 5


def measure(_limits: Limits) -> Numbers:
    """Wait in both ways with each delay."""
    found = {
        model: [_shortest([read_once(model, delay) for _ in range(_TIMES)]) for delay in DELAYS]
        for model in ("nonblocking", "blocking")
    }
    return {
        model: [
            {
                "waited_ms": (each["arrived"] - each["call"]) / 1e6,
                "cpu_ms": each["cpu"] / 1e6,
                "refused": each["refused"],
            }
            for each in reads
        ]
        for model, reads in found.items()
    }


def _shortest(reads: list[Numbers]) -> Numbers:
    """Return the read whose wait other processes prolonged least."""
    return min(reads, key=lambda each: int(each["arrived"] - each["call"]))


def judge(numbers: Numbers) -> list[Finding]:
    """EAGAINs must grow with the wait, and polling must cost more CPU than sleeping."""
    asked, slept = numbers["nonblocking"], numbers["blocking"]
    first, last = asked[0], asked[-1]
    if last["waited_ms"] < LONGER * first["waited_ms"]:
        why = (
            f"this machine is too busy: waits of {DELAYS[0] * 1000:.0f} and "
            f"{DELAYS[-1] * 1000:.0f} ms took {first['waited_ms']:.1f} and "
            f"{last['waited_ms']:.1f} ms; try again"
        )
        return [Finding("M2", NOT_MEASURED, why)]
    grows = last["refused"] >= GROWS * max(first["refused"], 1)
    dearer = last["cpu_ms"] >= DEARER * slept[-1]["cpu_ms"]
    each = last["waited_ms"] * 1e3 / max(last["refused"], 1)
    key = (
        f"EAGAIN {first['refused']:,} times in {first['waited_ms']:.1f} ms and "
        f"{last['refused']:,} times in {last['waited_ms']:.1f} ms, one every {each:.1f} µs; the "
        f"longer wait cost {last['cpu_ms']:.1f} ms of CPU, a blocking read of that length "
        f"{slept[-1]['cpu_ms']:.2f} ms"
    )
    scope = "A real server polls many sockets per turn and can do other work between turns."
    return [Finding("M2", verdict(grows and dearer), key, scope)]


def figures(numbers: Numbers) -> Sequence[Chart]:
    """Draw CPU time against the length of the wait."""
    series = {
        name: sorted((each["waited_ms"], each["cpu_ms"]) for each in numbers[model])
        for name, model in (("polls", "nonblocking"), ("sleeps", "blocking"))
    }
    text = "CPU time of one read against its wait. Other processes on the CPU bend the upper line."
    return [lines("m2-cpu", "CPU burnt by polling", text, series, "waited, ms", "CPU, ms")]


EXPERIMENT = Experiment(
    claims={
        "M2": "Nonblocking I/O: the call returns an error at once, and the process keeps asking "
        "whether data is there."
    },
    title="Polling a nonblocking socket",
    method="A process waits 2 to 50 ms for a datagram, with nonblocking reads in a loop and with a "
    "blocking read.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=60, cpu_seconds=30),
)
