"""The system calls of a request, and the memory of an idle connection."""

from collections import Counter
from typing import Final

from chainlab.pages.charts import Chart, Table, View
from chainlab.pages.formatting import joined, number
from chainlab.pages.vega import COLOURS
from lab.compare.report.bars import Bar, stacked
from lab.compare.report.formatting import marked
from lab.compare.report.sections import Section, most
from lab.compare.report.selection import by_where, order
from lab.compare.result import Result

MEMORY: Final = {"back": 0, "front": 1, "kernel": 2}
"""The holders of memory, and their colours."""

NAMED: Final = 7  # system calls with their own colour


def system_calls(result: Result) -> Section:
    """Return system calls per request, by name."""
    names = _by_frequency(result)
    kinds = {name: COLOURS[at] for at, name in enumerate(names[:NAMED])}
    if len(names) > NAMED:
        kinds["others"] = "var(--faint)"
    views, rows = [], []
    for where, cells in by_where(result, [cell for cell in result.cells if cell.rounds]):
        bars: list[Bar] = []
        for cell in cells:
            if cell.calls_missing:
                rows.append([cell.architecture, where, "–", "–", cell.calls_missing])
            for part, calls in cell.system_calls.items():
                label = cell.architecture if part == "back" else f"{cell.architecture}, {part}"
                bars += [(label, kind, value, cell.verdict) for kind, value in _named(calls, kinds)]
                listed = ", ".join(
                    f"{name} {number(calls[name])}" for name in names if name in calls
                )
                total = marked(number(sum(calls.values())), cell.verdict)
                rows.append([cell.architecture, where, part, total, listed])
        if bars:
            views.append(View(where, stacked(bars, kinds, "calls per request")))
    chart = Chart(
        "calls",
        "Calls by name",
        "Counted in a separate trial, because counting slows the server. Fewer is not always "
        "cheaper: a call that waits also costs a wake-up.",
        views,
        Table(["architecture", "where", "part", "all", "by name"], rows),
        first=most(result, views),
        legend=[(colour, kind) for kind, colour in kinds.items()],
    )
    return Section(
        "system-calls",
        "System calls per request",
        "The system calls that the server makes for one request.",
        [chart] if views else [],
        short="System calls",
        sentences=_lacking([(each.architecture, each.calls_missing) for each in result.cells]),
        absent="" if views else "no system calls were counted",
    )


def _lacking(reasons: list[tuple[str, str]]) -> list[str]:
    """Return why something was not measured, each reason once with the names it applies to."""
    names_by_reason: dict[str, dict[str, None]] = {}
    for name, reason in reasons:
        if reason:
            names_by_reason.setdefault(reason, {})[name] = None
    all_names = {name: None for name, _ in reasons}
    return [
        f"Not measured{'' if names == all_names else f' for {joined(list(names))}'}: {reason}."
        for reason, names in names_by_reason.items()
    ]


def _by_frequency(result: Result) -> list[str]:
    """Return the names of system calls, the most frequent first."""
    totals: Counter[str] = Counter()
    for cell in result.cells:
        for calls in cell.system_calls.values():
            for name, count in calls.items():
                totals[name] += count  # type: ignore[assignment]  # a Counter may hold fractions
    return [name for name, _ in totals.most_common()]


def memory(result: Result) -> Section:
    """Return the memory per idle connection."""
    measured = {each.name: each for each in result.architectures if each.idle_bytes}
    lacking = [(each.name, each.idle_missing) for each in result.architectures]
    names = [name for name in order(result) if name in measured]
    names += [name for name in measured if name not in names]
    kinds = {part: f"var(--c{colour})" for part, colour in MEMORY.items()}
    bars: list[Bar] = [
        (name, part, measured[name].idle_bytes[part] / 1024, "valid")
        for name in names
        for part in kinds
        if part in measured[name].idle_bytes
    ]
    rows = [
        [name, *(number(_kib(measured[name].idle_bytes.get(part))) for part in kinds)]
        for name in names
    ]
    chart = Chart(
        "idle",
        "Memory by holder",
        "KiB per connection that is open and sends nothing.",
        [View("", stacked(bars, kinds, "KiB per connection"))] if bars else [],
        Table(["architecture", *(f"{part}, KiB" for part in kinds)], rows),
        legend=[(colour, kind) for kind, colour in kinds.items()],
    )
    return Section(
        "memory", "Memory per idle connection",
        "The memory that idle clients occupy, in the server and in the kernel.",
        [chart] if bars else [],
        short="Memory",
        sentences=_lacking(lacking),
        absent="" if bars else "no idle connections were held",
    )  # fmt: skip


def _named(calls: dict[str, float], kinds: dict[str, str]) -> list[tuple[str, float]]:
    named = [(name, calls[name]) for name in kinds if name in calls]
    rest = sum(count for name, count in calls.items() if name not in kinds)
    return [*named, ("others", rest)] if rest else named


def _kib(value: float | None) -> float | None:
    return None if value is None else value / 1024
