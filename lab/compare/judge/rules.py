"""The rules of a fair comparison: each is a function from rounds to a Check.

The first rule that fails, in the order of VERDICTS, decides the verdict: the speed of wrong answers
does not matter. The other rules only add a note. No round or request is dropped to make a rule
hold: an error counts in the latency distribution as well as in its own rule.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Final

from lab.compare.judge.intervals import interval
from lab.compare.result import Cell, Check, Interval, Round, Verdict

CEILING_SHARE: Final = 0.8
"""Of the generator's rate on the baseline; above it, the figure depends on the generator."""
BUSY: Final = 0.9
"""CPU seconds per second of a generator process; above it, the generator had no time to spare."""
LEAST_SHARE: Final = 0.5
"""Of the mean answers per client; a client with fewer is starved."""
FEW: Final = 4
"""Mean answers per client; with fewer, starvation cannot be judged."""
ROUNDS: Final = 5
WIDTH: Final = 0.2
"""Of the median; a wider interval is noise."""
RATE_SHARE: Final = 0.99
"""Of the intended rate."""

VERDICTS: Final[dict[str, Verdict]] = {
    "answers": "wrong-answers",
    "errors": "errors",
    "available": "errors",
    "generator": "generator-bound",
    "peak": "generator-bound",
    "rounds": "noisy",
    "noise": "noisy",
}
"""The rules that decide the verdict, the most serious first."""


def answers(rounds: Sequence[Round]) -> Check:
    """Every answer was correct; openloop checks status, framing and body, wrk only the status."""
    total = sum(each.answered for each in rounds)
    kinds = add([each.wrong for each in rounds])
    wrong = sum(kinds.values())
    evidence = f"all {total:,} answers were correct"
    if wrong:
        example = [text for each in rounds for text in each.evidence][:1]
        evidence = f"{wrong:,} of {total:,} answers were wrong ({listed(kinds)})"
        evidence = "; ".join([evidence, *example])
    if any(each.driver == "wrk" for each in rounds):
        evidence += "; wrk checks only the status"
    return Check("answers", not wrong, evidence, {"answered": total, "wrong": wrong})


def errors(rounds: Sequence[Round]) -> Check:
    """Every request was answered, and there was at least one."""
    kinds = add([each.errors for each in rounds])
    failed = sum(kinds.values())
    total = sum(each.answered for each in rounds)
    evidence = "every request was answered"
    if failed:
        evidence = f"{failed:,} of {failed + total:,} requests had no answer ({listed(kinds)})"
    elif not total:
        evidence = "no request was answered"
    return Check("errors", not failed and total > 0, evidence, {"failed": failed})


def generator(rounds: Sequence[Round], ceiling: float | None) -> Check:
    """The generator had CPU to spare and stayed below `ceiling`, its rate on the baseline."""
    rate = median([each.rate for each in rounds])
    busy = median([each.generator_busy for each in rounds])
    numbers = {"rate": rate, "busy": busy}
    used = f"the generator used {busy:.2f} of a core"
    if ceiling is None:
        return Check("generator", busy <= BUSY, f"{used}; no baseline to compare", numbers)
    share = rate / ceiling if ceiling else 1.0
    numbers |= {"ceiling": ceiling, "share": share}
    evidence = f"{rate:,.0f}/s is {share:.0%} of the {ceiling:,.0f}/s from the baseline; {used}"
    return Check("generator", share <= CEILING_SHARE and busy <= BUSY, evidence, numbers)


def connections(rounds: Sequence[Round]) -> Check:
    """All connections wanted were established before the start."""
    asked = sum(each.asked for each in rounds)
    there = sum(each.established for each in rounds)
    evidence = f"{there:,} of {asked:,} connections were established"
    return Check("connections", there >= asked, evidence, {"asked": asked, "established": there})


def settled(rounds: Sequence[Round]) -> Check:
    """The server had accepted its clients before the load, so start-up is not in its figures."""
    early = sum(not each.settled for each in rounds)
    evidence = "the server had accepted its clients when the load began"
    if early:
        evidence = f"still starting when the load began, in {early} of {len(rounds)} rounds"
    return Check("settled", not early, evidence, {"early": early})


def starvation(rounds: Sequence[Round]) -> Check:
    """No client got far fewer answers than the mean, in any round. A p99 does not show this."""
    shares = [
        (each.least or 0) / each.mean
        for each in rounds
        if each.least is not None and each.mean is not None and each.mean >= FEW
    ]
    if not shares:
        evidence = "not judged: too few answers per client, or the driver does not count them"
        return Check("starvation", True, evidence, {})
    least = min(shares)
    holds = least >= LEAST_SHARE
    evidence = f"the least served client got {least:.2f} of the mean"
    return Check(
        "starvation", holds, evidence if holds else f"starved: {evidence}", {"least": least}
    )


def enough_rounds(rounds: Sequence[Round]) -> Check:
    """There were enough rounds to judge the noise."""
    count = len(rounds)
    evidence = f"{count} rounds" if count != 1 else "1 round"
    if count < ROUNDS:
        evidence += f", fewer than {ROUNDS}: too few to judge the noise"
    return Check("rounds", count >= ROUNDS, evidence, {"rounds": count})


def noise(rounds: Sequence[Round], rate: float | None) -> Check:
    """The interval of the median is narrow.

    In an open loop the rate is fixed, so the latency is judged: its median, because a tail always
    varies. How much it varies shows in the interval of the p99.
    """
    what, figures = "throughput", [each.rate for each in rounds]
    if rate is not None:
        what, figures = "median latency", [each.latency.p50_ms for each in rounds]
    found = interval(figures)
    width = (found.high - found.low) / found.median if found.median else 1.0
    evidence = f"the 95 % interval of the {what} is {width:.0%} of the median wide"
    return Check("noise", width <= WIDTH, evidence, {"width": width})


def available(failure: str) -> Check:
    """The target could be driven to the end; `failure` says why not."""
    return Check("available", not failure, failure or "it could be driven to the end", {})


def intended_rate(rounds: Sequence[Round], rate: float | None) -> Check:
    """Open loop: the intended rate was achieved."""
    if rate is None:
        return Check("rate", True, "closed loop: no intended rate", {})
    achieved = median([each.rate for each in rounds])
    evidence = f"{achieved:,.0f}/s of {rate:,.0f}/s intended"
    holds = achieved >= rate * RATE_SHARE
    numbers = {"achieved": achieved, "intended": rate}
    return Check("rate", holds, evidence if holds else f"behind its rate: {evidence}", numbers)


def own_peak(closed: Cell, peak: Interval, share: float) -> Check:
    """Open loop at a share of a peak: the closed loop's peak was not limited by the generator."""
    span = f"{peak.low:,.0f}–{peak.high:,.0f}"
    evidence = f"{share:.0%} of its closed loop's {peak.median:,.0f}/s ({span})"
    bound = any(each.name == "generator" and not each.holds for each in closed.checks)
    if bound:
        evidence = f"the generator limited the peak: {evidence}"
    elif closed.verdict != "valid":
        evidence += f", whose verdict is {closed.verdict}"
    numbers = {"share": share, "peak": peak.median, "low": peak.low, "high": peak.high}
    return Check("peak", not bound, evidence, numbers)


def verdict(checks: Sequence[Check]) -> Verdict:
    """Return the verdict of the most serious rule that fails."""
    failed = {check.name for check in checks if not check.holds}
    return next((verdict for name, verdict in VERDICTS.items() if name in failed), "valid")


def notes(checks: Sequence[Check]) -> list[str]:
    """Return the evidence of rules that fail without deciding the verdict."""
    return [each.evidence for each in checks if not each.holds and each.name not in VERDICTS]


def add(counts: Sequence[dict[str, int]]) -> Counter[str]:
    """Return the sums by kind."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


def listed(kinds: Counter[str]) -> str:
    """Return `2 timeout, 1 reset`."""
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
