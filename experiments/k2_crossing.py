"""K2: the kernel is protected because it can only be entered by a system call, and that costs time.

Three pairs of calls, in which only one of the two enters the kernel: two C library functions
without arguments, through ctypes; a Python function and a system call of os; and clock_gettime(2)
with two clocks, one of which is read through the vDSO (man vdso(7)). The vDSO exists to avoid the
cost of a crossing.
"""

import ctypes
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

from chainlab.pages.charts import Chart
from experiments.drawing import bars
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.timing import ROUNDS, cost

CROSSING_NS: Final = 20.0
"""The least that a crossing costs: SYSCALL and SYSRET with the registers saved take some 70 cycles,
20 ns at 3.5 GHz. A smaller difference is noise."""

_CALLS: Final = 50_000
_libc = ctypes.CDLL(None)


def _plain() -> int:
    return 0


PAIRS: Final[dict[tuple[str, str], tuple[Callable[[], object], Callable[[], object]]]] = {
    ("ctypes getpagesize", "ctypes getppid"): (_libc.getpagesize, _libc.getppid),
    ("Python function", "os.getppid"): (_plain, os.getppid),
    ("clock of the vDSO", "clock of the kernel"): (
        lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC),
        lambda: time.clock_gettime_ns(time.CLOCK_THREAD_CPUTIME_ID),
    ),
}
"""Pairs of calls: without a crossing, with one."""


def measure(_limits: Limits) -> Numbers:
    """Time the calls in turn."""
    found: list[list[tuple[float, float]]] = [[] for _ in PAIRS]
    for _ in range(ROUNDS):
        for rounds, (function, call) in zip(found, PAIRS.values(), strict=True):
            rounds.append((cost(function, _CALLS, 1), cost(call, _CALLS, 1)))
    return {
        "pairs": [
            {
                "function": names[0],
                "function_ns": round(statistics.median(one for one, _ in rounds), 1),
                "call": names[1],
                "call_ns": round(statistics.median(other for _, other in rounds), 1),
            }
            for names, rounds in zip(PAIRS, found, strict=True)
        ]
    }


def judge(numbers: Numbers) -> list[Finding]:
    """The crossing must show in each pair."""
    extra = [pair["call_ns"] - pair["function_ns"] for pair in numbers["pairs"]]
    first = numbers["pairs"][0]
    key = (
        f"{first['call']} takes {first['call_ns']:.0f} ns, {first['function']} from the same "
        f"library {first['function_ns']:.0f} ns: the crossing costs {extra[0]:.0f} ns; "
        f"{min(extra):.0f} to {max(extra):.0f} ns over all pairs"
    )
    scope = (
        "These are cheap system calls; the work done in the kernel comes on top. That user code "
        "cannot bypass the crossing is shown by K1."
    )
    return [Finding("K2", verdict(min(extra) >= CROSSING_NS), key, scope)]


def figures(numbers: Numbers) -> Sequence[Chart]:
    """Draw the pairs, one above the other."""
    rows = {}
    for pair in numbers["pairs"]:
        rows[pair["function"]] = {"stays in user space": pair["function_ns"]}
        rows[pair["call"]] = {"enters the kernel": pair["call_ns"]}
    text = "The two calls of a pair differ mainly in whether they enter the kernel."
    return [bars("k2-pairs", "A call with and without a crossing", text, rows, "ns per call")]


EXPERIMENT = Experiment(
    claims={
        "K2": "The kernel is protected because it can only be entered through system calls; "
        "this crossing costs time."
    },
    title="What a crossing costs",
    method="Three pairs of calls that differ in whether they enter the kernel, timed in turn; "
    f"medians of {ROUNDS} rounds of {_CALLS:,} calls.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=30, cpu_seconds=20),
)
