"""K2: crossing into the kernel is what protects it, and it costs.

Three pairs of calls in the same language, alike but for the crossing: by ctypes, two functions of
the C library without arguments, of which one asks the kernel; from Python, two builtins likewise;
and clock_gettime(2) with two clocks, one of which the kernel lets be read without entering it (the
vDSO, man vdso(7)), which is how Linux itself avoids what a crossing costs.
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
"""What entering and leaving costs at least: SYSCALL and SYSRET with the registers saved take some
70 cycles, 20 ns at 3.5 GHz. A difference below that is not a crossing but noise."""

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
"""Without and with a crossing."""


def measure(_limits: Limits) -> Numbers:
    """Time each call, in turns."""
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
    """The crossing shows in each pair."""
    extra = [pair["call_ns"] - pair["function_ns"] for pair in numbers["pairs"]]
    first = numbers["pairs"][0]
    key = (
        f"{first['call']} {first['call_ns']:.0f} ns, {first['function']}, of the same library, "
        f"{first['function_ns']:.0f} ns: the crossing costs {extra[0]:.0f} ns; "
        f"{min(extra):.0f} to {max(extra):.0f} ns in all pairs"
    )
    scope = (
        "A cheap system call: what a call does in the kernel comes on top. That a crossing is also "
        "what protects the kernel is K1's."
    )
    return [Finding("K2", verdict(min(extra) >= CROSSING_NS), key, scope)]


def figures(numbers: Numbers) -> Sequence[Chart]:
    """The pairs, one above the other."""
    rows = {}
    for pair in numbers["pairs"]:
        rows[pair["function"]] = {"stays in user space": pair["function_ns"]}
        rows[pair["call"]] = {"enters the kernel": pair["call_ns"]}
    text = "Each pair differs in little but whether the kernel is entered."
    return [bars("k2-pairs", "A call with and without a crossing", text, rows, "ns per call")]


EXPERIMENT = Experiment(
    claims={
        "K2": "The kernel is protected by being entered only through system calls; that "
        "crossing costs."
    },
    title="What a crossing costs",
    method="Three pairs of calls that differ in whether the kernel is entered, timed in turns; "
    f"medians of {ROUNDS} rounds of {_CALLS:,} calls.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=30, cpu_seconds=20),
)
