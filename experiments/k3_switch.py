"""K3: a process switch saves and restores a context, and moves processes between queues.

Two processes, then two threads, then two generators pass a token back and forth on one CPU. For
processes and threads the token is a byte in a pipe: the waiting side sleeps, so each turn needs a
switch, which the kernel counts. Under SCHED_BATCH a woken process does not preempt the one that
woke it, so every switch is voluntary. Generators switch without the kernel.
"""

import os
import resource
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

from chainlab.pages.charts import Chart
from experiments.drawing import bars
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict

TURNS: Final = 20_000
"""Turns of each of the two."""

MATCHES: Final = 0.1
"""How far switches may deviate from turns: other processes on the CPU cost or save a few."""

DEARER: Final = 3.0
"""Least ratio of a kernel switch to a generator switch. Both save one place and resume another; the
kernel also needs a system call, two queues and another stack."""

Pipe = tuple[int, int]


def measure(_limits: Limits) -> Numbers:
    """Pass the token in each kind of pair."""
    cpu = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    return {
        "turns": TURNS,
        "processes": _measured(_processes),
        "threads": _measured(_threads),
        "generators": _measured(_generators),
        "no switch": _measured(_alone),
    }


def _measured(run: Callable[[], None]) -> dict[str, float]:
    """Run it; return ns per switch, and the switches of this process (all threads, no children)."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.perf_counter_ns()
    run()
    took = time.perf_counter_ns() - begin
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "ns": round(took / (2 * TURNS), 1),
        "voluntary": after.ru_nvcsw - before.ru_nvcsw,
        "involuntary": after.ru_nivcsw - before.ru_nivcsw,
    }


def _processes() -> None:
    there, back = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _answer(there, back)
        finally:
            os._exit(0)
    _ask(there, back)
    os.waitpid(child, 0)
    _close(there, back)


def _threads() -> None:
    there, back = os.pipe(), os.pipe()
    other = threading.Thread(target=_answer, args=(there, back))
    other.start()
    _ask(there, back)
    other.join()
    _close(there, back)


def _alone() -> None:
    """Make the same reads and writes with nothing to switch to."""
    there, back = os.pipe(), os.pipe()
    for _ in range(TURNS):
        os.write(there[1], b"x")
        os.read(there[0], 1)
        os.write(back[1], b"x")
        os.read(back[0], 1)
    _close(there, back)


def _ask(there: Pipe, back: Pipe) -> None:
    for _ in range(TURNS):
        os.write(there[1], b"x")
        os.read(back[0], 1)


def _answer(there: Pipe, back: Pipe) -> None:
    for _ in range(TURNS):
        os.read(there[0], 1)
        os.write(back[1], b"x")


def _close(*pipes: Pipe) -> None:
    for pipe in pipes:
        for end in pipe:
            os.close(end)


def _generators() -> None:
    def one() -> Generator[None, None, None]:
        for _ in range(TURNS):
            yield

    pair = (one(), one())
    for _ in range(TURNS):
        for each in pair:
            next(each)


def judge(numbers: Numbers) -> list[Finding]:
    """One switch per turn, none for generators, and kernel switches must cost more."""
    turns, pair, light = numbers["turns"], numbers["processes"], numbers["generators"]
    counted = pair["voluntary"] / turns
    matches = abs(counted - 1) <= MATCHES and light["voluntary"] <= MATCHES * turns
    ratio = pair["ns"] / light["ns"]
    key = (
        f"{pair['voluntary']:,} voluntary switches in {turns:,} turns; a switch takes "
        f"{pair['ns']:,.0f} ns between processes, {numbers['threads']['ns']:,.0f} ns between "
        f"threads, {light['ns']:,.0f} ns between generators"
    )
    scope = (
        f"The times include reads and writes: {numbers['no switch']['ns']:,.0f} ns without a "
        "switch. Python threads also hand over the interpreter lock. The saved context and the "
        "queues show only in the cost and the count, not step by step."
    )
    return [Finding("K3", verdict(matches and ratio >= DEARER), key, scope)]


def figures(numbers: Numbers) -> Sequence[Chart]:
    """Draw the cost of each kind of switch."""
    rows: dict[str, Any] = {
        "processes": numbers["processes"]["ns"],
        "threads": numbers["threads"]["ns"],
        "same calls, no switch": numbers["no switch"]["ns"],
        "generators": numbers["generators"]["ns"],
    }
    text = "A token passed back and forth on one CPU; times include the system calls, if any."
    return [bars("k3-switches", "One switch", text, rows, "ns per switch")]


EXPERIMENT = Experiment(
    claims={
        "K3": "A process switch saves and restores the context, updates the process control "
        "block and moves the process between queues."
    },
    title="What a switch costs",
    method="Two processes, two threads and two generators pass a token back and forth on one CPU; "
    "the kernel counts the switches (getrusage).",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=30, cpu_seconds=20),
)
