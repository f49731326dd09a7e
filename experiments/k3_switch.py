"""K3: a process switch saves and restores a context, and moves processes between queues.

Two processes, then two threads, then two generators pass a token to each other, all on one CPU. For
processes and threads the token is a byte in a pipe: whoever waits for it sleeps, so that each turn
needs a switch, which /proc counts. The scheduling policy is SCHED_BATCH, under which the one who is
woken does not displace the one who woke it: every switch is then the sleeper's own. Generators
switch without the kernel.
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
"""Of each of the two."""

MATCHES: Final = 0.1
"""How far the counted switches may be from the turns: a few are lost to whoever shares the CPU."""

DEARER: Final = 3.0
"""A switch by the kernel must cost that many of a generator's: it does what a generator does (keep
where one was, go on where another was), and a system call, two queues and a stack on top of it."""

Pipe = tuple[int, int]


def measure(_limits: Limits) -> Numbers:
    """Let each kind of pair pass the token."""
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
    """Nanoseconds for each switch, and the switches of this process alone (all its threads)."""
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
    """The same reads and writes, without anybody to switch to."""
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
    """A switch for each turn, none for generators, and the kernel's cost more."""
    turns, pair, light = numbers["turns"], numbers["processes"], numbers["generators"]
    counted = pair["voluntary"] / turns
    matches = abs(counted - 1) <= MATCHES and light["voluntary"] <= MATCHES * turns
    ratio = pair["ns"] / light["ns"]
    key = (
        f"{pair['voluntary']:,} voluntary switches in {turns:,} turns; {pair['ns']:,.0f} ns for a "
        f"switch between processes, {numbers['threads']['ns']:,.0f} ns between threads, "
        f"{light['ns']:,.0f} ns between generators"
    )
    scope = (
        f"The reads and writes are in it: {numbers['no switch']['ns']:,.0f} ns without a switch. "
        "Threads of Python pass the interpreter lock as well. That a context is saved and queues "
        "are changed is seen by its cost and its count, not step by step."
    )
    return [Finding("K3", verdict(matches and ratio >= DEARER), key, scope)]


def figures(numbers: Numbers) -> Sequence[Chart]:
    """The cost of each kind."""
    rows: dict[str, Any] = {
        "processes": numbers["processes"]["ns"],
        "threads": numbers["threads"]["ns"],
        "same calls, no switch": numbers["no switch"]["ns"],
        "generators": numbers["generators"]["ns"],
    }
    text = "A token passed to and fro on one CPU; system calls included, where there are any."
    return [bars("k3-switches", "One switch", text, rows, "ns per switch")]


EXPERIMENT = Experiment(
    claims={
        "K3": "A process switch saves and restores the context, updates the process's control "
        "block and moves it between queues."
    },
    title="What a switch costs",
    method="Two processes, two threads and two generators pass a token to and fro on one CPU; "
    "switches are counted by the kernel (getrusage, as in /proc).",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=30, cpu_seconds=20),
)
