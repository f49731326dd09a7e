"""What counts as a change between two results."""

from dataclasses import replace

from lab.compare.judge.diff import changes, other_circumstances, shared
from lab.compare.judge.summary import Taken, make_cell
from lab.compare.result import Cell, Latency, Result, from_json
from tests.lab.compare.rounds import rounds
from tests.lab.compare.sample import SAMPLE


def cell(rate: float, name: str = "epoll-lt", **changed: object) -> Cell:
    rates = (rate, rate * 1.01, rate * 0.99, rate, rate)
    taken = Taken(name, "none", "hello", 8, 8, rounds=rounds(*rates, **changed))
    return make_cell(taken, {"openloop": 1e6})


def opened(rate: float, p99: float, of_peak: float | None = None) -> Cell:
    latency = Latency(1.0, 2.0, p99, 2 * p99, 3 * p99)
    taken = Taken("epoll-lt", "none", "hello", 8, 8, mode="open", rate=rate, of_peak=of_peak)
    taken.rounds = rounds(*[rate] * 5, latency=latency)
    return make_cell(taken, {"openloop": 1e6})


def result(*cells: Cell) -> Result:
    sample = from_json(SAMPLE.read_text())
    return replace(sample, cells=list(cells))


def test_the_noise_is_no_change() -> None:
    assert changes(result(cell(1000)), result(cell(1015))) == []
    assert changes(result(cell(1000)), result(cell(1040))) == [], "apart, but by less than 5 %"


def test_faster_is_better_and_slower_is_worse() -> None:
    (slower,) = changes(result(cell(1000)), result(cell(900)))
    assert slower.worse
    assert (slower.cell, slower.what) == ("epoll-lt hello × 8", "answers/s")
    assert (slower.before, slower.after) == ("1,000 (990–1,010)", "900 (891–909)")
    (faster,) = changes(result(cell(900)), result(cell(1000)))
    assert not faster.worse


def test_more_cpu_is_worse() -> None:
    before = cell(1000)
    assert before.summary is not None
    dear = replace(before.summary.cpu_us, median=80.0, low=79.0, high=81.0)
    after = replace(before, summary=replace(before.summary, cpu_us=dear))
    (change,) = changes(result(before), result(after))
    assert (change.what, change.worse) == ("CPU µs per request", True)


def test_a_verdict_lost_is_worse_however_fast() -> None:
    wrong = cell(2000, wrong={"body": 1})
    (change,) = changes(result(cell(1000)), result(wrong))
    assert (change.what, change.before, change.after) == ("verdict", "valid", "wrong-answers")
    assert change.worse
    (back,) = changes(result(wrong), result(cell(2000)))
    assert not back.worse


def test_only_cells_of_both_are_compared() -> None:
    old, new = result(cell(1000), cell(1000, "select")), result(cell(1000), cell(1, "poll"))
    assert shared(old, new) == 1
    assert changes(old, new) == []


def test_shares_of_a_peak_are_compared_whatever_the_peak() -> None:
    old = result(opened(500, 3.0, 0.5), opened(900, 3.0, 0.9), opened(500, 3.0))
    new = result(opened(600, 3.0, 0.5), opened(1080, 6.0, 0.9), opened(600, 9.0))
    assert shared(old, new) == 2
    (change,) = changes(old, new)
    assert (change.cell, change.what) == ("epoll-lt hello × 8, 90 % of its own peak", "p99 ms")
    assert (change.before, change.after, change.worse) == (
        "3.00 (3.00–3.00)", "6.00 (6.00–6.00)", True,
    )  # fmt: skip
    assert other_circumstances(old, new) == ["equal rates: 500/s, then 600/s"]


def test_equal_rates_are_compared_with_themselves() -> None:
    old = result(opened(500, 3.0), opened(900, 3.0))
    new = result(opened(900, 3.0), opened(500, 6.0))
    (change,) = changes(old, new)
    assert (change.cell, change.worse) == ("epoll-lt hello × 8, 500/s", True)
    assert other_circumstances(old, new) == []


def test_another_machine_is_said() -> None:
    old = result()
    new = replace(old, manifest=replace(old.manifest, kernel="7.0", cores=64))
    assert other_circumstances(old, new) == ["kernel: 6.18.0, then 7.0", "cores: 2, then 64"]
    assert other_circumstances(old, old) == []


def test_native_beside_containers_is_said() -> None:
    native = result()
    inside = replace(native.manifest, reached="container-address", images={"servers": "sha256:a"})
    old, new = native, replace(native, manifest=inside)
    (told,) = other_circumstances(old, new)
    assert told.startswith("servers reached by: loopback, then their containers' own addresses")
    other = replace(
        new, manifest=replace(inside, images={"servers": "sha256:b", "php": "sha256:c"})
    )
    assert other_circumstances(new, other) == ["image servers: sha256:a, then sha256:b"]
