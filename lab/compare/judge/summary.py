"""Makes a cell from its rounds: the driver that counts, medians, every rule, the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lab.compare.drive.drivers import OPENLOOP, WRK
from lab.compare.drive.locust_driver import LOCUST
from lab.compare.judge import rules
from lab.compare.judge.intervals import interval
from lab.compare.result import Cell, Check, Mode, Round, Summary
from loadtest.openloop import merge_histograms

SERVERS: Final = ("front", "back")


@dataclass(slots=True)
class Taken:
    """What has been measured of one cell so far."""

    architecture: str
    front: str
    route: str
    connections: int
    workers: int
    mode: Mode = "closed"
    rate: float | None = None
    of_peak: float | None = None
    rounds: list[Round] = field(default_factory=list)
    histograms: list[str] = field(default_factory=list)
    failure: str = ""
    """Why it was not measured, or measured only in part."""
    remarks: list[str] = field(default_factory=list)
    """Failures that do not affect the rounds that count."""
    system_calls: dict[str, dict[str, float]] = field(default_factory=dict)
    calls_missing: str = ""
    """Why system calls were not counted."""


def counting(rounds: Sequence[Round]) -> list[Round]:
    """Return the rounds that count, all of one driver: drivers differ in the CPU they leave over.

    wrk drives only where openloop was the bottleneck, and locust only as a cross-check. Their
    results, and the errors they see, become notes and do not affect the verdict.
    """
    for driver in (OPENLOOP, WRK):
        if found := [each for each in rounds if each.driver == driver]:
            return found
    return list(rounds)


def by_others(rounds: Sequence[Round]) -> list[str]:
    """Return notes on the drivers whose rounds do not count: wrk beyond openloop, and locust."""
    judging = {each.driver for each in counting(rounds)}
    others = [each for each in rounds if each.driver not in judging]
    notes = []
    if by_wrk := [each for each in others if each.driver == WRK]:
        found = interval([each.rate for each in by_wrk])
        figures = f"by wrk {found.median:,.0f}/s ({found.low:,.0f}–{found.high:,.0f})"
        notes.append(figures + _faults(by_wrk))
    for each in others:
        if each.driver == LOCUST:
            limit = ", locust the limit" if each.generator_busy >= rules.BUSY else ""
            figures = f"by locust {each.rate:,.0f}/s, p99 {each.latency.p99_ms:.1f} ms{limit}"
            notes.append(figures + _faults([each]))
    return notes


def _faults(rounds: Sequence[Round]) -> str:
    wrong = rules.add([each.wrong for each in rounds])
    failed = rules.add([each.errors for each in rounds])
    text = f"; wrong: {rules.listed(wrong)}" if wrong else ""
    return text + (f"; without an answer: {rules.listed(failed)}" if failed else "")


def make_cell(taken: Taken, ceilings: Mapping[str, float], closed: Cell | None = None) -> Cell:
    """Return the cell; `ceilings` has each driver's answers per second on the baseline.

    `closed` is the cell whose peak the rate is a share of.
    """
    counted = counting(taken.rounds)
    checks = judge(counted, taken.rate, ceilings) if counted else []
    if checks and taken.of_peak is not None and closed and closed.summary:
        checks.append(rules.own_peak(closed, closed.summary.throughput, taken.of_peak))
    if taken.failure:
        checks.append(rules.available(taken.failure))
    return Cell(
        architecture=taken.architecture,
        front=taken.front,
        route=taken.route,
        connections=taken.connections,
        mode=taken.mode,
        rate=taken.rate,
        of_peak=taken.of_peak,
        workers=taken.workers,
        rounds=taken.rounds,
        histogram=merge_histograms(taken.histograms) if taken.histograms else "",
        summary=summarise(taken.rounds),
        verdict=rules.verdict(checks) if taken.rounds else "unavailable",
        notes=_notes(taken, checks),
        checks=checks,
        system_calls=taken.system_calls,
        calls_missing=taken.calls_missing,
    )


def _notes(taken: Taken, checks: Sequence[Check]) -> list[str]:
    failure = [taken.failure] if taken.failure else []
    return [*failure, *rules.notes(checks), *by_others(taken.rounds), *taken.remarks]


def summarise(rounds: Sequence[Round]) -> Summary | None:
    """Return the medians; None if no round has an answer and the servers' cost."""
    whole = [each for each in counting(rounds) if each.answered and "back" in each.cost]
    if not whole:
        return None
    return Summary(
        driver=whole[0].driver,
        throughput=interval([each.rate for each in whole]),
        cpu_us=interval([cpu_us(each) for each in whole]),
        p99_ms=interval([each.latency.p99_ms for each in whole]),
    )


def cpu_us(one: Round) -> float:
    """Return the CPU µs per request of front and back end."""
    parts = [cost for name, cost in one.cost.items() if name in SERVERS]
    return sum(cost.user_us + cost.kernel_us for cost in parts)


def judge(
    counted: Sequence[Round], rate: float | None, ceilings: Mapping[str, float]
) -> list[Check]:
    """Return every rule's check of the rounds that count."""
    checks = [
        rules.answers(counted),
        rules.errors(counted),
        rules.generator(counted, ceilings.get(counted[0].driver)),
        rules.connections(counted),
        rules.settled(counted),
        rules.starvation(counted),
        rules.enough_rounds(counted),
        rules.noise(counted, rate),
    ]
    return [*checks, rules.intended_rate(counted, rate)] if rate is not None else checks
