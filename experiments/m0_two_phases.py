"""M0, M1: a read has two phases, waiting for data and copying it; which model sleeps in which.

Each of the five models reads one datagram that arrives after a delay: Stevens' figure 6.6 (UNIX
Network Programming, volume 1), drawn from time stamps. The first phase ends when the datagram
arrives in the socket, by the kernel's clock; the second when it is in the process's memory. CPU
time, voluntary switches and the state in /proc show how the process spent the first. Of several
reads the least disturbed is kept, because other processes can delay any of them.
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
"""Seconds until the datagram is sent: a thousand times the time to copy it."""

WAITED: Final = 0.5
"""Least share of the delay that the first phase must take, to show that it is the wait."""

ASLEEP: Final = 0.1
"""Most CPU time of a sleeping read, as a share of its duration."""

SLEEPERS: Final = ("blocking", "multiplexing")
"""The models that should sleep in the first phase; the others keep running."""

KINDS: Final = {
    "asleep": "var(--rule)",
    "polling": "var(--c1)",
    "other work": "var(--c2)",
    "waking up, or handling the signal": "var(--c4)",
    "copying": "var(--c0)",
    "kernel copies, until the process sees it": "var(--c3)",
    "waking up and copying, in one call": "var(--c5)",
}
_PHASES: Final = ("phase 1, waiting", "phase 2, copying")
_TIMES: Final = 9
_SHOWN: Final = 4  # width in medians of the second phase: a disturbed read runs off the edge


def measure(_limits: Limits) -> Numbers:
    """Read in each model that this machine supports."""
    found: Numbers = {"delay_ms": DELAY * 1000, "models": {}, "absent": {}}
    for model in MODELS:
        try:
            found["models"][model] = read_often(model, DELAY, _TIMES)
        except NotHere as lack:
            found["absent"][model] = f"{lack.reason}; {lack.remedy}"
    return found


def judge(numbers: Numbers) -> list[Finding]:
    """Two phases in every model; asleep in the first if the model should be; M1 separately."""
    models = numbers["models"]
    waits = [(each["arrived"] - each["call"]) / 1e6 for each in models.values()]
    copies = [(each["done"] - each["arrived"]) / 1e3 for each in models.values()]
    phases = (
        min(waits) >= WAITED * numbers["delay_ms"]
        and min(copies) > 0
        and all(each["right"] for each in models.values())
    )
    key = (
        f"in {len(models)} models the datagram arrived {min(waits):.1f} to {max(waits):.1f} ms "
        f"after the read began, and was in the process's memory {min(copies):.0f} to "
        f"{max(copies):,.0f} µs later"
    )
    findings = [Finding("M0", verdict(phases), key, part="two phases"), _first_phase(models)]
    for model, why in numbers["absent"].items():
        findings.append(Finding("M0", NOT_MEASURED, why, part=model))
    return [*findings, _blocking(models["blocking"])]


def _first_phase(models: Numbers) -> Finding:
    """Judge whether each model slept or ran while waiting; a voluntary switch means sleep."""
    as_expected = all((each["slept"] > 0) == (model in SLEEPERS) for model, each in models.items())
    behaviour = ", ".join(
        f"{model} {'slept' if each['slept'] else 'ran'}" for model, each in models.items()
    )
    scope = "Nonblocking runs because it polls; the last two do other work."
    key = f"while waiting: {behaviour}"
    return Finding("M0", verdict(as_expected), key, scope, "the first phase")


def _blocking(each: Numbers) -> Finding:
    """One call that sleeps until the data arrives and returns after the copy."""
    share = each["cpu"] / (each["done"] - each["call"])
    holds = each["calls"] == 1 and each["slept"] > 0 and share <= ASLEEP and each["right"]
    key = (
        f"one recv of {(each['done'] - each['call']) / 1e6:.1f} ms slept {each['slept']} time"
        f"{'' if each['slept'] == 1 else 's'}, used {share:.1%} of a core, and returned the "
        f"data {(each['done'] - each['arrived']) / 1e3:.0f} µs after its arrival"
    )
    scope = (
        "In the second phase the process does not sleep: it runs in the kernel, copying. "
        "“Blocked” there means that its own code does not continue."
    )
    return Finding("M1", verdict(holds), key, scope)


def figures(numbers: Numbers) -> Sequence[Chart]:
    """Draw Stevens' figure to scale."""
    models = numbers["models"]
    spans = [span for model, each in models.items() for span in _spans(model, each)]
    copied = sorted((each["done"] - each["arrived"]) / 1e3 for each in models.values())
    last = min(copied[-1], _SHOWN * copied[len(copied) // 2])
    first = min(each["call"] - each["arrived"] for each in models.values()) / 1e3
    text = (
        f"One read of a datagram of {SIZE:,} bytes, which arrives at the dashed line. Left: the "
        "first phase, waiting. Right: the second, until the data is in the process's memory."
    )
    windows = [
        Window("around the arrival", -last, last * 1.1, 1, "µs after the datagram arrived"),
        Window("the whole read", first, last * 1.1, 1000, "ms after the datagram arrived"),
    ]
    title = "The two phases of a read, in five models"
    return [timeline("m0-phases", title, text, spans, KINDS, windows, _PHASES, _table(models))]


def _spans(model: str, each: Numbers) -> list[Span]:
    """Return what the process did, in µs relative to the arrival."""
    call, copy, done = ((each[name] - each["arrived"]) / 1e3 for name in ("call", "copy", "done"))
    if model == "blocking":
        return [
            Span(model, "asleep", call, 0),
            Span(model, "waking up and copying, in one call", 0, done),
        ]
    if model == "asynchronous":  # still unfinished at `copy`; the kernel copied before `done`
        copied, begin = "kernel copies, until the process sees it", max(copy, 0)
        return [Span(model, "other work", call, begin), Span(model, copied, begin, done)]
    if model == "nonblocking":
        return [Span(model, "polling", call, copy), Span(model, "copying", copy, done)]
    wait = "asleep" if model == "multiplexing" else "other work"
    return [
        Span(model, wait, call, 0),
        Span(model, "waking up, or handling the signal", 0, copy),
        Span(model, "copying", copy, done),
    ]


def _table(models: Numbers) -> Table:
    head = ["model", "waited, ms", "CPU, ms", "slept, times", "states in /proc",
            "notified after, µs", "copied after, µs", "system calls", "EAGAIN"]  # fmt: skip
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
        "M0": "A read has two phases: waiting until the data is there, and copying it from the "
        "kernel to the process.",
        "M1": "Blocking I/O: both phases block.",
    },
    title="The two phases of a read",
    method="Each model reads one datagram that another process sends after "
    f"{DELAY * 1000:.0f} ms; the kernel's time stamp of its arrival separates the phases. Of "
    f"{_TIMES} reads the least disturbed is kept.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=60, cpu_seconds=30),
)
