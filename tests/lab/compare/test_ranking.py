"""Tie groups and crossings: what the noise allows to be said."""

import random

import pytest

from lab.compare.drive.budget import CONNECT, FULL, LONGEST, OVERHEAD, QUICK, SHORTEST, Budget
from lab.compare.drive.levels import CLOSED, Level, equal_rate
from lab.compare.judge.intervals import overlap
from lab.compare.judge.ranking import crossings, places, standings
from lab.compare.judge.summary import Taken, make_cell
from lab.compare.result import Cell, Interval, Latency, Place
from tests.lab.compare.rounds import rounds


def test_who_overlaps_shares_a_place() -> None:
    figures = {
        "slow": Interval(100, 95, 105),
        "fast": Interval(200, 190, 210),
        "near": Interval(195, 188, 201),
    }
    expected = [Place(1, ["fast", "near"]), Place(3, ["slow"])]
    assert places(figures, more_is_better=True) == expected
    assert places(figures, more_is_better=False) == [
        Place(1, ["slow"]),
        Place(2, ["near", "fast"]),
    ]


def test_a_chain_of_overlaps_holds_together() -> None:
    figures = {"a": Interval(30, 25, 35), "b": Interval(24, 20, 26), "c": Interval(18, 15, 21)}
    assert places(figures, more_is_better=True) == [Place(1, ["a", "b", "c"])]


def test_a_wide_interval_reaches_over_those_between() -> None:
    figures = {"a": Interval(30, 29, 31), "b": Interval(25, 24, 26), "wide": Interval(10, 5, 30)}
    assert places(figures, more_is_better=True) == [Place(1, ["a", "b", "wide"])]


def test_different_places_never_overlap() -> None:
    draw = random.Random(3)
    for _ in range(200):
        figures = {}
        for name in range(12):
            middle, half = draw.uniform(0, 100), draw.uniform(0, 5)
            figures[str(name)] = Interval(middle, middle - half, middle + half)
        found = places(figures, more_is_better=True)
        assert sorted(n for place in found for n in place.architectures) == sorted(figures)
        for one in found:
            for other in found:
                if one.place < other.place:
                    for a in one.architectures:
                        for b in other.architectures:
                            assert not overlap(figures[a], figures[b])
                            assert figures[a].median > figures[b].median


def cell(name: str, connections: int, rate: float, **changed: object) -> Cell:
    rates = (rate, rate * 1.01, rate * 0.99, rate, rate)
    taken = Taken(name, "none", "hello", connections, 8, rounds=rounds(*rates, **changed))
    return make_cell(taken, {"openloop": 100_000.0})


def test_only_the_valid_have_a_place_and_the_others_a_reason() -> None:
    cells = [
        cell("epoll-lt", 8, 10_000),
        cell("fork", 8, 9_000, errors={"reset": 1}),
        cell("c-extension", 8, 90_000),
        make_cell(Taken("go", "none", "hello", 8, 8, failure="no go"), {}),
    ]
    throughput, cpu = standings(cells)
    assert (throughput.metric, cpu.metric) == ("throughput", "cpu")
    assert throughput.places == [Place(1, ["epoll-lt"])]
    assert throughput.unplaced == {
        "fork": "errors", "c-extension": "generator-bound", "go": "unavailable",
    }  # fmt: skip
    assert cpu.places == [Place(1, ["epoll-lt", "c-extension"])], "the generator costs them nothing"


def test_an_open_loop_is_ranked_by_its_tail() -> None:
    taken = Taken("epoll-lt", "none", "hello", 8, 8, mode="open", rate=1000, rounds=rounds())
    assert [each.metric for each in standings([make_cell(taken, {})])] == ["p99", "cpu"]


def at(name: str, p99: float, rate: float, of_peak: float | None = None) -> Cell:
    taken = Taken(name, "none", "hello", 8, 8, mode="open", rate=rate, of_peak=of_peak)
    taken.rounds = rounds(*[rate] * 5, latency=Latency(1.0, 2.0, p99, 9.0, 9.0))
    return make_cell(taken, {})


def test_each_load_has_places_of_its_own() -> None:
    cells = [
        cell("thread", 8, 12_000), cell("epoll-lt", 8, 10_000),
        at("thread", 5.0, 6_000, 0.5), at("epoll-lt", 4.0, 5_000, 0.5),
        at("thread", 8.0, 10_800, 0.9), at("epoll-lt", 9.0, 9_000, 0.9),
        at("thread", 3.0, 5_000), at("epoll-lt", 4.0, 5_000),
    ]  # fmt: skip
    found = [each for each in standings(cells) if each.metric != "cpu"]
    assert [(each.metric, each.rate, each.of_peak) for each in found] == [
        ("throughput", None, None), ("p99", None, 0.5), ("p99", None, 0.9), ("p99", 5_000, None),
    ]  # fmt: skip
    first = [each.places[0].architectures for each in found]
    assert first == [["thread"], ["epoll-lt"], ["thread"], ["thread"]]
    assert all(not each.unplaced for each in found)


def test_the_equal_rate_is_half_of_the_slowest_peak() -> None:
    assert equal_rate([12_345.0, 8_765.0, 0.0]) == 4380.0
    assert equal_rate([0.0]) is None
    assert equal_rate([]) is None


def test_loads_have_names_and_an_order() -> None:
    levels = [Level(of_peak=0.9), Level(rate=1234.5), Level(of_peak=0.5), Level(rate=2.5), CLOSED]
    told = [str(each) for each in sorted(levels, key=lambda each: each.order)]
    assert told == [
        "closed loop", "2.5/s", "1,234/s", "50 % of its own peak", "90 % of its own peak",
    ]  # fmt: skip


def test_curves_that_cross_are_named() -> None:
    cells = [
        cell("thread", 1, 12_000), cell("thread", 8, 11_000), cell("thread", 64, 6_000),
        cell("epoll-lt", 1, 10_000), cell("epoll-lt", 8, 11_050), cell("epoll-lt", 64, 11_000),
    ]  # fmt: skip
    (found,) = crossings(cells)
    assert found.sentence == "thread leads epoll-lt up to 1 connection and trails it from 64"
    assert (found.route, found.first, found.second) == ("hello", "thread", "epoll-lt")
    (turned,) = crossings(cells[3:] + cells[:3])
    assert turned.sentence == found.sentence


def test_curves_that_only_touch_do_not_cross() -> None:
    cells = [cell("a", 1, 12_000), cell("a", 8, 11_000), cell("b", 1, 10_000), cell("b", 8, 11_050)]
    assert crossings(cells) == []
    noisy = cell("b", 8, 90_000)  # generator-bound: no place, no crossing
    assert crossings([*cells[:3], noisy]) == []


def test_turns_are_as_long_as_the_time_allows() -> None:
    everything = Budget(targets=35, routes=1, connections=(1, 8, 64, 512), rounds=5)
    duration = everything.duration(FULL)
    assert SHORTEST < duration < LONGEST
    assert everything.seconds(duration) <= FULL
    assert not everything.fits(QUICK)
    assert Budget(targets=35, routes=1, connections=(8,), rounds=5).fits(QUICK)
    assert Budget(targets=3, routes=1, connections=(8,), rounds=5).duration(FULL) == LONGEST


def test_every_load_of_an_open_loop_takes_its_time() -> None:
    closed = Budget(targets=4, routes=2, connections=(8,), rounds=5)
    five = Budget(targets=4, routes=2, connections=(8,), rounds=5, loads=5)
    more = 3 * 2 * 4 * 5  # turns; the baseline stays with its closed loop
    assert five.seconds(1.0) - closed.seconds(1.0) == pytest.approx(
        more * (1 + OVERHEAD + 8 * CONNECT)
    )
