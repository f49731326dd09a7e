"""M0, M1: a read has two phases, waiting for data and copying them; who sleeps in which.

Each of the five models reads one datagram that comes after a while: Stevens' figure 6.6 (UNIX
Network Programming, volume 1), from time stamps. The first phase ends when the datagram arrives in
the socket, by the kernel's own clock; the second when it is in the process's memory. How the
process passed the first is told by its CPU time, the switches it made by itself, and its state in
/proc. A run that others disturbed says little about the model, so of several the least disturbed is
kept.
"""

from collections.abc import Sequence
from typing import Final

from chainlab.pages.charts import Chart, Table
from chainlab.pages.formatting import number
from experiments.frame import (
    NOT_MEASURED,
    Experiment,
    Finding,
    Limits,
    NotHere,
    Numbers,
    verdict,
)
from experiments.models import MODELS
from experiments.reading import SIZE, read_often
from experiments.timeline import Span, Window, timeline

DELAY: Final = 0.02
"""Seconds until the datagram is sent: a thousand times what it takes to copy it."""

WAITED: Final = 0.5
"""The first phase must have that share of the delay: it is a wait, not an accident."""

ASLEEP: Final = 0.1
"""CPU time per time of one that sleeps, at most: it enters the call and is woken, no more."""

SLEEPERS: Final = ("blocking", "multiplexing")
"""The models that are to sleep in the first phase; the others go on running."""

KINDS: Final = {
    "asleep": "var(--rule)",
    "asks, in vain": "var(--c1)",
    "other work": "var(--c2)",
    "woken, or told": "var(--c4)",
    "copying": "var(--c0)",
    "copied by the kernel, seen when done": "var(--c3)",
    "woken, and copying: one call": "var(--c5)",
}
_PHASES: Final = ("phase 1, waiting", "phase 2, copying")
_TIMES: Final = 9
_SHOWN: Final = 4  # times the median of the second phases: one that was disturbed goes off the edge


def measure(_limits: Limits) -> Numbers:
    """Read once in each model that this machine has."""
    found: Numbers = {"delay_ms": DELAY * 1000, "models": {}, "absent": {}}
    for model in MODELS:
        try:
            found["models"][model] = read_often(model, DELAY, _TIMES)
        except NotHere as lack:
            found["absent"][model] = f"{lack.reason}; {lack.remedy}"
    return found


def judge(numbers: Numbers) -> list[Finding]:
    """Two phases in every model; asleep in the first where the model says so; M1 by itself."""
    models = numbers["models"]
    waits = [(each["arrived"] - each["call"]) / 1e6 for each in models.values()]
    copies = [(each["done"] - each["arrived"]) / 1e3 for each in models.values()]
    phases = (
        min(waits) >= WAITED * numbers["delay_ms"]
        and min(copies) > 0
        and all(each["right"] for each in models.values())
    )
    key = (
        f"in {len(models)} models the datagram came {min(waits):.1f} to {max(waits):.1f} ms after "
        f"the read began, and was in the process's memory {min(copies):.0f} to "
        f"{max(copies):,.0f} µs after it came"
    )
    findings = [Finding("M0", verdict(phases), key, part="two phases"), _passed(models)]
    for model, why in numbers["absent"].items():
        findings.append(Finding("M0", NOT_MEASURED, why, part=model))
    return [*findings, _blocking(models["blocking"])]


def _passed(models: Numbers) -> Finding:
    """How the first phase was passed: switches of its own are sleep."""
    as_told = all((each["slept"] > 0) == (model in SLEEPERS) for model, each in models.items())
    told = ", ".join(
        f"{model} {'slept' if each['slept'] else 'ran'}" for model, each in models.items()
    )
    scope = "A process that runs may be asking (nonblocking) or working (the last two)."
    return Finding("M0", verdict(as_told), f"while waiting: {told}", scope, "the first phase")


def _blocking(each: Numbers) -> Finding:
    """One call, asleep until the data came, back when they were copied."""
    share = each["cpu"] / (each["done"] - each["call"])
    holds = each["calls"] == 1 and each["slept"] > 0 and share <= ASLEEP and each["right"]
    key = (
        f"one recv of {(each['done'] - each['call']) / 1e6:.1f} ms slept {each['slept']} time"
        f"{'' if each['slept'] == 1 else 's'}, used {share:.1%} of a core, and returned with the "
        f"data {(each['done'] - each['arrived']) / 1e3:.0f} µs after they came"
    )
    scope = (
        "In the second phase it does not sleep: it runs, in the kernel, which copies. Blocked "
        "means that its own code does not go on."
    )
    return Finding("M1", verdict(holds), key, scope)


def figures(numbers: Numbers) -> Sequence[Chart]:
    """Stevens' figure, with a scale."""
    models = numbers["models"]
    spans = [span for model, each in models.items() for span in _spans(model, each)]
    copied = sorted((each["done"] - each["arrived"]) / 1e3 for each in models.values())
    last = min(copied[-1], _SHOWN * copied[len(copied) // 2])
    first = min(each["call"] - each["arrived"] for each in models.values()) / 1e3
    text = (
        f"A datagram of {SIZE:,} bytes is read. Left of the dashed line the first phase, waiting "
        "for it; it arrives; right of the line the second, until it is in the process's memory."
    )
    windows = [
        Window("around the arrival", -last, last * 1.1, 1, "µs after the datagram arrived"),
        Window("the whole read", first, last * 1.1, 1000, "ms after the datagram arrived"),
    ]
    title = "The two phases of a read, in five models"
    return [timeline("m0-phases", title, text, spans, KINDS, windows, _PHASES, _table(models))]


def _spans(model: str, each: Numbers) -> list[Span]:
    """What the process did, in µs after the arrival."""
    call, copy, done = ((each[name] - each["arrived"]) / 1e3 for name in ("call", "copy", "done"))
    if model == "blocking":
        return [
            Span(model, "asleep", call, 0),
            Span(model, "woken, and copying: one call", 0, done),
        ]
    if model == "asynchronous":  # it looked at `copy`, in vain; the kernel copied before `done`
        copied, begin = "copied by the kernel, seen when done", max(copy, 0)
        return [Span(model, "other work", call, begin), Span(model, copied, begin, done)]
    if model == "nonblocking":
        return [Span(model, "asks, in vain", call, copy), Span(model, "copying", copy, done)]
    wait = "asleep" if model == "multiplexing" else "other work"
    return [
        Span(model, wait, call, 0),
        Span(model, "woken, or told", 0, copy),
        Span(model, "copying", copy, done),
    ]


def _table(models: Numbers) -> Table:
    head = ["model", "waited, ms", "CPU meanwhile, ms", "slept, times", "seen in /proc",
            "told after, µs", "copied after, µs", "system calls", "of these EAGAIN"]  # fmt: skip
    rows = []
    for model, each in models.items():
        seen = ", ".join(f"{state} × {count}" for state, count in each["states"].items())
        rows.append(
            [
                model,
                number((each["arrived"] - each["call"]) / 1e6),
                number(each["cpu"] / 1e6),
                str(each["slept"]),
                seen,
                "–"
                if model == "blocking"
                else number(max(0, each["told"] - each["arrived"]) / 1e3),
                number((each["done"] - each["arrived"]) / 1e3),
                f"{each['calls']:,}",
                f"{each['refused']:,}",
            ]
        )
    return Table(head, rows)


EXPERIMENT = Experiment(
    claims={
        "M0": "A read has two phases: waiting until the data are there, and copying them from the "
        "kernel to the process.",
        "M1": "Blocking I/O: both phases block.",
    },
    title="The two phases of a read",
    method="Each model reads one datagram that another process sends after "
    f"{DELAY * 1000:.0f} ms; the kernel's time stamp of its arrival parts the phases. Of {_TIMES} "
    "reads the one that others disturbed least is kept.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=60, cpu_seconds=30),
)
