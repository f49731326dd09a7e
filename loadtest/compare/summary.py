"""A cell from its rounds: the driver that counts, medians, every rule, the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from loadtest.compare import rules
from loadtest.compare.driver import OPENLOOP, WRK
from loadtest.compare.intervals import interval
from loadtest.compare.locust import LOCUST
from loadtest.compare.result import Cell, Check, Mode, Round, Summary
from loadtest.openloop import merge_histograms

SERVERS: Final = ("front", "back")


@dataclass(slots=True)
class Taken:
    """What has been taken of one cell so far."""

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
    """Why it was not measured, or not any longer."""
    system_calls: dict[str, dict[str, float]] = field(default_factory=dict)
    calls_missing: str = ""
    """Why they were not counted."""


def counting(rounds: Sequence[Round]) -> list[Round]:
    """Return the rounds that count: never of two drivers, for they leave the servers other time.

    wrk drives only where openloop was at its end, and locust for a witness; what they get is told
    beside the verdict.
    """
    return [each for each in rounds if each.driver == OPENLOOP] or list(rounds)


def by_others(rounds: Sequence[Round]) -> list[str]:
    """Return what those drivers got that give nobody a place: wrk beyond openloop, and locust."""
    notes = []
    rates = [each.rate for each in rounds if each.driver == WRK]
    if rates and len(rates) < len(rounds):
        found = interval(rates)
        notes.append(f"by wrk {found.median:,.0f}/s ({found.low:,.0f}–{found.high:,.0f})")
    for each in rounds:
        if each.driver == LOCUST:
            end = ", at its end" if each.generator_busy >= rules.BUSY else ""
            notes.append(f"by locust {each.rate:,.0f}/s, p99 {each.latency.p99_ms:.1f} ms{end}")
    return notes


def make_cell(taken: Taken, ceilings: Mapping[str, float], closed: Cell | None = None) -> Cell:
    """Return the cell; `ceilings` has what each driver gets from a null server, per second.

    `closed` is the cell in which the peak was found, of which the rate is a share.
    """
    checks = judge(taken.rounds, taken.rate, ceilings) if taken.rounds else []
    if checks and taken.of_peak is not None and closed and closed.summary:
        checks.append(rules.own_peak(closed, closed.summary.throughput, taken.of_peak))
    if taken.failure:
        checks.append(Check("available", False, taken.failure, {}))
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
        notes=[*rules.notes(checks), *by_others(taken.rounds)],
        checks=checks,
        system_calls=taken.system_calls,
        calls_missing=taken.calls_missing,
    )


def summarise(rounds: Sequence[Round]) -> Summary | None:
    """Return the medians; None where no round has an answer, or its servers were gone."""
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
    rounds: Sequence[Round], rate: float | None, ceilings: Mapping[str, float]
) -> list[Check]:
    """Return every rule's check. Answers and errors are judged in all rounds, whoever drove."""
    counted = counting(rounds)
    checks = [
        rules.answers(rounds),
        rules.errors(rounds),
        rules.generator(counted, ceilings.get(counted[0].driver)),
        rules.connections(counted),
        rules.settled(counted),
        rules.starvation(counted),
        rules.enough_rounds(counted),
        rules.noise(interval([each.rate for each in counted])),
    ]
    return [*checks, rules.intended_rate(counted, rate)] if rate is not None else checks
