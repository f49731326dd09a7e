"""M2: nonblocking I/O returns an error at once, and the process keeps asking.

A datagram is read that comes after 2, 5, 10, 20 and 50 ms: once by asking again and again, once by
a blocking call. How often was it told EAGAIN, what CPU did it take, against how long it waited?
"""

from collections.abc import Sequence
from typing import Final

from chainlab.pages.charts import Chart
from experiments.drawing import lines
from experiments.frame import NOT_MEASURED, Experiment, Finding, Limits, Numbers, verdict
from experiments.reading import read_once

DELAYS: Final = (0.002, 0.005, 0.01, 0.02, 0.05)
"""Seconds."""

GROWS: Final = 3.0
"""EAGAINs of the longest wait for one of the shortest, at least: it is 25 times as long, and what
does not grow with the wait stays near 1."""

LONGER: Final = 8.0
"""The longest wait for one of the shortest, at least, else there is nothing to grow with: a busy
machine lets short waits last."""

DEARER: Final = 5.0
"""CPU of one that asked through the longest wait for one that slept through it, at least: to sleep
costs two switches, whatever the wait; to ask costs a part of the wait that grows with it."""

_TIMES: Final = 5


def measure(_limits: Limits) -> Numbers:
    """Wait in both ways for each delay."""
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
    """The read whose wait was prolonged least by others."""
    return min(reads, key=lambda each: int(each["arrived"] - each["call"]))


def judge(numbers: Numbers) -> list[Finding]:
    """It was refused at once, and the more often the longer it waited."""
    asked, slept = numbers["nonblocking"], numbers["blocking"]
    first, last = asked[0], asked[-1]
    if last["waited_ms"] < LONGER * first["waited_ms"]:
        why = (
            f"this machine was so busy that the waits of {DELAYS[0] * 1000:.0f} and "
            f"{DELAYS[-1] * 1000:.0f} ms took {first['waited_ms']:.1f} and "
            f"{last['waited_ms']:.1f} ms; try again"
        )
        return [Finding("M2", NOT_MEASURED, why)]
    grows = last["refused"] >= GROWS * max(first["refused"], 1)
    dearer = last["cpu_ms"] >= DEARER * slept[-1]["cpu_ms"]
    each = last["waited_ms"] * 1e3 / max(last["refused"], 1)
    key = (
        f"EAGAIN {first['refused']:,} times in {first['waited_ms']:.1f} ms, "
        f"{last['refused']:,} times in {last['waited_ms']:.1f} ms, one every {each:.1f} µs; that "
        f"cost {last['cpu_ms']:.1f} ms of CPU, a blocking read as long "
        f"{slept[-1]['cpu_ms']:.2f} ms"
    )
    scope = "A server asks many sockets in a turn, and may do other work between two turns."
    return [Finding("M2", verdict(grows and dearer), key, scope)]


def figures(numbers: Numbers) -> Sequence[Chart]:
    """CPU against the wait."""
    series = {
        name: sorted((each["waited_ms"], each["cpu_ms"]) for each in numbers[model])
        for name, model in (("asks again and again", "nonblocking"), ("sleeps", "blocking"))
    }
    text = "What one read costs that had to wait. Who shares the CPU lets the upper line bend."
    return [lines("m2-cpu", "CPU burnt by asking", text, series, "waited, ms", "CPU, ms")]


EXPERIMENT = Experiment(
    claims={
        "M2": "Nonblocking I/O: the call returns an error at once, and the process keeps asking "
        "whether the data are there."
    },
    title="Asking again and again",
    method="A datagram is awaited for 2 to 50 ms by nonblocking reads in a loop, and by a blocking "
    "one.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=60, cpu_seconds=30),
)
