"""Each rule on both sides of its edge, and what the rules together make of a cell."""

import random
from dataclasses import replace
from statistics import median

import pytest

from lab.compare.judge import rules
from lab.compare.judge.intervals import interval
from lab.compare.judge.summary import Taken, counting, judge, make_cell
from lab.compare.result import Check, Interval
from tests.lab.compare.rounds import GOOD, rounds

ROOMY = {"openloop": 40_000.0, "wrk": 100_000.0}


def test_one_wrong_answer_is_enough() -> None:
    assert rules.answers(rounds()).holds
    wrong = replace(GOOD, wrong={"body": 1}, evidence=["body: 14 bytes: b'Hellu, world!'"])
    check = rules.answers([*rounds(), wrong])
    assert not check.holds
    assert check.evidence.startswith("1 of 6,000 answers were wrong (1 body); body: 14 bytes")
    assert check.numbers == {"answered": 6000, "wrong": 1}


def test_wrk_is_known_to_look_at_the_status_alone() -> None:
    assert "only the status" in rules.answers(rounds(driver="wrk")).evidence
    assert "only the status" not in rules.answers(rounds()).evidence


def test_one_request_without_an_answer_is_enough() -> None:
    assert rules.errors(rounds()).holds
    check = rules.errors([*rounds(), replace(GOOD, errors={"reset": 1, "timeout": 2})])
    assert not check.holds
    assert check.evidence == "3 of 6,003 requests had no answer (2 timeout, 1 reset)"


def test_no_answer_at_all_is_no_success() -> None:
    check = rules.errors(rounds(answered=0))
    assert not check.holds
    assert check.evidence == "no request was answered"


@pytest.mark.parametrize(("ceiling", "holds"), [(1250.0, True), (1249.0, False), (0.0, False)])
def test_a_target_above_four_fifths_of_the_ceiling(ceiling: float, holds: bool) -> None:
    check = rules.generator(rounds(), ceiling)
    assert check.holds is holds
    assert check.numbers["ceiling"] == ceiling


@pytest.mark.parametrize(("busy", "holds"), [(0.9, True), (0.91, False)])
@pytest.mark.parametrize("ceiling", [None, 40_000.0])
def test_a_generator_without_time_to_spare(busy: float, holds: bool, ceiling: float | None) -> None:
    assert rules.generator(rounds(generator_busy=busy), ceiling).holds is holds


@pytest.mark.parametrize(("there", "holds"), [(8, True), (7, False)])
def test_connections_asked_and_established(there: int, holds: bool) -> None:
    check = rules.connections([*rounds(), replace(GOOD, established=there)])
    assert check.holds is holds
    assert check.evidence == f"{40 + there} of 48 connections were established"


def test_a_server_that_was_starting_still_is_told_and_not_condemned() -> None:
    assert rules.settled(rounds()).holds
    early = [*rounds(), replace(GOOD, settled=False)]
    told = "still starting when the load began, in 1 of 6 rounds"
    assert rules.settled(early).evidence == told
    cell = make_cell(Taken("fork", "none", "hello", 8, 8, rounds=early), ROOMY)
    assert (cell.verdict, cell.notes) == ("valid", [told])


@pytest.mark.parametrize(("least", "holds"), [(63, True), (62, False), (0, False)])
def test_the_least_served_client(least: int, holds: bool) -> None:
    check = rules.starvation([*rounds(), replace(GOOD, least=least)])
    assert check.holds is holds
    assert check.evidence.startswith("starved") is not holds


def test_starvation_is_not_judged_where_nobody_counted() -> None:
    assert "not judged" in rules.starvation(rounds(least=None, mean=None)).evidence
    assert rules.starvation(rounds(least=0, mean=3.9)).holds


@pytest.mark.parametrize(("count", "holds"), [(5, True), (4, False)])
def test_fewer_than_five_rounds(count: int, holds: bool) -> None:
    assert rules.enough_rounds(rounds(*[1000] * count)).holds is holds


@pytest.mark.parametrize(("high", "holds"), [(1100.0, True), (1101.0, False)])
def test_an_interval_wider_than_a_fifth(high: float, holds: bool) -> None:
    check = rules.noise(rounds(900, 1000, 1000, 1000, high), None)
    assert check.holds is holds
    assert check.evidence == "the 95 % interval of the throughput is 20% of the median wide"


@pytest.mark.parametrize(("high", "holds"), [(11.0, True), (11.1, False)])
def test_in_an_open_loop_it_is_the_latency_that_is_noisy(high: float, holds: bool) -> None:
    found = [
        replace(GOOD, rate=rate, latency=replace(GOOD.latency, p50_ms=p50))
        for rate, p50 in [(500.0, 9.0), (1000.0, 10.0), (1000.0, high)]
    ]
    check = rules.noise(found, 1000.0)
    assert check.holds is holds
    assert check.evidence.startswith("the 95 % interval of the median latency is 2")
    assert not rules.noise(found, None).holds, "in a closed one it is the rate"


@pytest.mark.parametrize(("rate", "holds"), [(1010.1, True), (1010.2, False), (None, True)])
def test_behind_the_intended_rate(rate: float | None, holds: bool) -> None:
    assert rules.intended_rate(rounds(), rate).holds is holds


@pytest.mark.parametrize(
    ("rate", "changed", "verdict", "told"),
    [
        (1000, {}, "valid", "90% of its closed loop's 1,000/s (1,000–1,000)"),
        (1000, {"errors": {"timeout": 1}}, "valid", "(1,000–1,000), whose verdict is errors"),
        (39_000, {}, "generator-bound", "the generator limited the peak: 90% of"),
        (39_000, {"wrong": {"body": 1}}, "generator-bound", "the generator limited the peak"),
    ],
)
def test_the_peak_of_which_a_share_was_asked(
    rate: float, changed: dict[str, object], verdict: str, told: str
) -> None:
    closed = make_cell(
        Taken("go", "none", "hello", 8, 8, rounds=rounds(*[rate] * 5, **changed)), ROOMY
    )
    taken = Taken("go", "none", "hello", 8, 8, mode="open", rate=900, of_peak=0.9)
    taken.rounds = rounds(*[900] * 5)
    cell = make_cell(taken, ROOMY, closed)
    assert cell.verdict == verdict
    (check,) = [each for each in cell.checks if each.name == "peak"]
    assert told in check.evidence
    assert check.numbers == {"share": 0.9, "peak": rate, "low": rate, "high": rate}
    taken.of_peak = None
    assert "peak" not in {check.name for check in make_cell(taken, ROOMY, closed).checks}


def test_the_gravest_decides() -> None:
    failed = [Check(name, False, name, {}) for name in (*rules.VERDICTS, "starvation")]
    for at, name in enumerate(rules.VERDICTS):
        assert rules.verdict(failed[at:]) == rules.VERDICTS[name]
    assert rules.verdict(failed[-1:]) == "valid"
    assert rules.notes(failed) == ["starvation"]


def test_a_cell_of_good_rounds_is_valid() -> None:
    taken = Taken("epoll-lt", "none", "hello", 8, 8, rounds=rounds(1000, 1010, 990, 1005, 995))
    cell = make_cell(taken, ROOMY)
    assert cell.verdict == "valid"
    assert cell.notes == []
    assert cell.summary is not None
    assert cell.summary.throughput == Interval(1000, 990, 1010)
    assert cell.summary.cpu_us == Interval(50, 50, 50), "without the generator's"


def test_starved_clients_are_told_beside_the_verdict() -> None:
    cell = make_cell(Taken("prefork", "none", "hello", 8, 4, rounds=rounds(least=0)), ROOMY)
    assert cell.verdict == "valid"
    assert cell.notes == ["starved: the least served client got 0.00 of the mean"]


def test_who_was_never_measured_is_unavailable() -> None:
    cell = make_cell(Taken("go", "none", "hello", 8, 8, failure="go is not installed"), {})
    assert cell.verdict == "unavailable"
    assert cell.summary is None
    assert cell.notes == ["go is not installed"]


def test_what_wrk_gets_where_openloop_was_at_its_end_is_told_and_not_mixed_in() -> None:
    slow = rounds(36_000, 36_000, 36_000, 36_000, 36_000)
    taken = Taken("c-extension", "none", "hello", 8, 8, rounds=slow)
    assert make_cell(taken, ROOMY).notes == []
    taken.rounds += rounds(*[70_000] * 5, driver="wrk", least=None, mean=None)
    cell = make_cell(taken, ROOMY)
    assert cell.verdict == "generator-bound"
    assert cell.notes == ["by wrk 70,000/s (70,000–70,000)"]
    assert cell.summary is not None
    assert (cell.summary.driver, cell.summary.throughput.median) == ("openloop", 36_000)


def test_what_a_witness_finds_amiss_is_told_and_is_not_judged() -> None:
    found = rounds(1000, 1000, 1000, 1000, 1000)
    found += rounds(900, driver="locust", wrong={"body": 2}, errors={"Timeout": 1})
    found += rounds(1100, 1200, driver="wrk", errors={"read": 3}, established=1)
    cell = make_cell(Taken("go", "none", "hello", 8, 8, rounds=found), ROOMY)
    assert cell.verdict == "valid"
    assert cell.notes == [
        "by wrk 1,150/s (1,100–1,200); without an answer: 6 read",
        "by locust 900/s, p99 3.0 ms; wrong: 2 body; without an answer: 1 Timeout",
    ]
    assert {check.name for check in cell.checks if not check.holds} == set()


def test_no_two_drivers_are_counted_together() -> None:
    ours, wrks, locusts = (rounds(1, driver=name) for name in ("openloop", "wrk", "locust"))
    assert counting([*locusts, *wrks, *ours]) == ours
    assert counting([*locusts, *wrks]) == wrks
    assert counting(locusts) == locusts
    cell = make_cell(Taken("go", "none", "hello", 8, 8, rounds=[*wrks * 5, *locusts]), ROOMY)
    assert cell.summary is not None
    assert cell.summary.driver == "wrk"
    assert [note.partition("/")[0] for note in cell.notes] == ["by locust 1"]


def test_who_fails_after_good_rounds_is_not_valid() -> None:
    taken = Taken("go", "none", "hello", 8, 8, rounds=rounds(), failure="it fell over")
    cell = make_cell(taken, ROOMY)
    assert cell.verdict == "errors"
    assert cell.notes == ["it fell over"]
    taken.rounds = rounds(wrong={"body": 1})
    assert make_cell(taken, ROOMY).verdict == "wrong-answers"


def test_what_went_wrong_beside_the_rounds_is_told() -> None:
    taken = Taken("go", "none", "hello", 8, 8, rounds=rounds(), remarks=["locust did not end"])
    cell = make_cell(taken, ROOMY)
    assert (cell.verdict, cell.notes) == ("valid", ["locust did not end"])


def test_a_back_end_that_died_has_no_cost_and_an_error() -> None:
    dead = replace(GOOD, answered=0, rate=0.0, errors={"refused": 9}, cost={})
    cell = make_cell(Taken("fork", "none", "hello", 8, 8, rounds=[dead] * 5), ROOMY)
    assert (cell.verdict, cell.summary) == ("errors", None)


def test_every_rule_has_its_check() -> None:
    names = [check.name for check in judge(rounds(), 1000.0, ROOMY)]
    assert names == [
        "answers", "errors", "generator", "connections", "settled", "starvation", "rounds", "noise",
        "rate",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [7, 9, 13, 21])
def test_the_interval_is_what_a_bootstrap_draws(count: int) -> None:
    """Against drawn medians: 2.5 % of them lie below the interval at most, and as many above."""
    draw = random.Random(count)
    values = [draw.gauss(100, 10) for _ in range(count)]
    medians = [median(draw.choices(values, k=count)) for _ in range(4000)]
    found = interval(values)
    assert found.median == median(values)
    for outside in (
        sum(each < found.low for each in medians),
        sum(each > found.high for each in medians),
    ):
        assert outside / len(medians) <= 0.025 + 0.01
    ordered = sorted(values)
    inner_low = ordered[ordered.index(found.low) + 1]
    inner_high = ordered[ordered.index(found.high) - 1]
    for outside in (
        sum(each < inner_low for each in medians),
        sum(each > inner_high for each in medians),
    ):
        assert outside / len(medians) > 0.025 - 0.01, "it is no wider than it must be"


def test_few_rounds_have_no_interval_but_their_range() -> None:
    found = interval([3.0, 1.0, 2.0, 5.0, 4.0])
    assert (found.low, found.high) == (1.0, 5.0)
