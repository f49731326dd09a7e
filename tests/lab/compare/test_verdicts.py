"""Each rule broken on purpose, by a real server, and the verdict that the real runner gives it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median

import pytest

from lab.chain.processes import family_of
from lab.chain.rundir import LabError, RunDir
from lab.compare.drive.levels import CLOSED, SHARES, level_of
from lab.compare.drive.session import Session
from lab.compare.drive.targets import Instance, Target
from lab.compare.judge.ranking import standings
from lab.compare.measure import resource_usage
from lab.compare.settings import ROUTES
from tests.lab.compare.comparing import (
    backend,
    by_name,
    check_of,
    compare,
    described,
    odd,
    open_loop,
    settings,
)

pytestmark = pytest.mark.long


def test_a_server_that_answers_wrongly_once_in_a_thousand(tmp_path: Path) -> None:
    for rounds in (8, 32, 128):  # as many as it takes: a busy machine has few answers in a round
        folder = tmp_path / str(rounds)
        folder.mkdir()
        cells = by_name(compare(folder, settings(rounds=rounds), odd("wrong"), backend("epoll-lt")))
        if sum(each.answered for each in cells["wrong"].rounds) > 1000:
            break
    assert cells["wrong"].verdict == "wrong-answers"
    assert "Hellu" in check_of(cells["wrong"], "answers").evidence
    assert cells["epoll-lt"].verdict != "wrong-answers"


def test_a_back_end_that_dies(tmp_path: Path) -> None:
    cells = by_name(compare(tmp_path, settings(rounds=2), odd("hello", dies=True), odd("extra")))
    assert cells["hello"].verdict == "errors"
    assert any(each.errors for each in cells["hello"].rounds)
    assert cells["extra"].verdict == "wrong-answers", "the others go on"


def test_starved_clients_are_told(tmp_path: Path) -> None:
    (cell,) = compare(tmp_path, settings(), backend("iterative")).cells
    assert cell.verdict == "errors"
    assert cell.notes == ["starved: the least served client got 0.00 of the mean"]
    assert cell.rounds[0].least == 0


@pytest.mark.parametrize(
    ("way", "verdict", "told"),
    [
        ("extra", "wrong-answers", "framing"),
        ("busy", "wrong-answers", "status 503 instead of 200"),
        ("short", "errors", "short"),
        ("drop", "errors", "closed"),
        ("silent", "errors", "timeout"),
    ],
)
def test_whatever_is_wrong_with_an_answer(
    tmp_path: Path, way: str, verdict: str, told: str
) -> None:
    (cell,) = compare(tmp_path, settings(), odd(way)).cells
    assert cell.verdict == verdict
    broken = check_of(cell, "answers" if verdict == "wrong-answers" else "errors")
    assert told in broken.evidence


def test_a_back_end_that_dies_behind_its_front(tmp_path: Path) -> None:
    chain = backend("fcgi-worker")

    def start(run_dir: RunDir, workers: int, stack: ExitStack) -> Instance:
        running = chain.start(run_dir, workers, stack)
        for process in family_of(running.parts["back"])[::-1]:
            process.kill()
        return running

    dead = Target(chain.described, start)
    (cell,) = compare(tmp_path, settings(rounds=2), dead).cells
    assert cell.verdict == "wrong-answers", "the front answers in its place"
    assert re.search("status 50[234] instead of 200", check_of(cell, "answers").evidence)
    assert cell.summary is None, "what the front alone costs is not the chain's cost"


def test_a_client_that_waits_while_others_are_served(tmp_path: Path) -> None:
    (cell,) = compare(tmp_path, settings(), odd("unfair")).cells
    assert not check_of(cell, "starvation").holds
    assert any(note.startswith("starved: ") for note in cell.notes)


def test_clients_who_get_no_connection(tmp_path: Path) -> None:
    (cell,) = compare(tmp_path, settings(connections=16), odd("full")).cells
    check = check_of(cell, "connections")
    assert not check.holds
    assert check.numbers["asked"] == 16
    assert cell.verdict == "errors"
    assert check.evidence in cell.notes


def test_a_server_that_takes_its_clients_too_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_usage, "PATIENCE", 0.1)  # shorter than it must be quiet
    (cell,) = compare(tmp_path, settings(), backend("iterative")).cells
    assert not cell.rounds[0].settled
    assert "still starting when the load began, in 1 of 1 rounds" in cell.notes


def test_a_rate_that_a_server_cannot_keep(tmp_path: Path) -> None:
    plan = replace(open_loop(200.0), connections=(1,), routes={"wait": ROUTES["wait"]})
    (cell,) = compare(tmp_path, plan, backend("epoll-lt")).cells
    assert not check_of(cell, "rate").holds, "of 10 ms each there are at most 100 a second"
    assert any(note.startswith("behind its rate: ") for note in cell.notes)


def test_too_few_rounds_to_know_the_noise(tmp_path: Path) -> None:
    (cell,) = compare(tmp_path, settings(rounds=4), backend("epoll-lt")).cells
    assert cell.verdict != "valid"
    told = "4 rounds, fewer than 5: too few to judge the noise"
    assert check_of(cell, "rounds").evidence == told


@contextmanager
def neighbours(number: int) -> Iterator[Callable[[str, float], None]]:
    """Processes that want all of the CPU in every second round, told by what runs."""
    spin = [sys.executable, "-c", "while True: pass"]
    hogs = [subprocess.Popen(spin) for _ in range(number)]

    def watch(what: str, _part: float) -> None:
        found = re.search(r"round (\d+)", what)
        busy = found is not None and int(found[1]) % 2 == 0
        for hog in hogs:
            hog.send_signal(signal.SIGCONT if busy else signal.SIGSTOP)

    try:
        watch("nothing runs", 0.0)
        yield watch
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def test_a_noisy_neighbour(tmp_path: Path) -> None:
    plan = settings(rounds=6)
    with neighbours(8 * len(os.sched_getaffinity(0))) as watch:
        session = Session(plan, [backend("epoll-lt")], None, tmp_path, watch)
        session.run()
    (cell,) = session.cells()
    assert cell.verdict == "noisy", cell.checks
    assert not check_of(cell, "noise").holds
    quiet, busy = ([each.rate for each in cell.rounds[first::2]] for first in (0, 1))
    assert median(quiet) > 2 * median(busy)


def test_latency_that_is_another_in_each_round(tmp_path: Path) -> None:
    plan = open_loop(10.0, rounds=6, duration=0.5)
    (cell,) = compare(tmp_path, plan, odd("ageing")).cells
    check = check_of(cell, "noise")
    assert not check.holds, "whatever the rate is, which is the same in all"
    assert "of the median latency" in check.evidence
    assert cell.verdict != "valid"


def test_a_target_that_is_faster_than_the_generator(tmp_path: Path, baseline: Target) -> None:
    fast = Target(described("fast"), baseline.start)
    slow = replace(odd("delay"), described=described("slow"))  # in the baseline's place
    (cell,) = compare(tmp_path, settings(rounds=5), fast, baseline=slow).cells
    check = check_of(cell, "generator")
    assert check.numbers["share"] == check.numbers["rate"] / check.numbers["ceiling"] > 0.8
    assert not check.holds
    assert cell.verdict == "generator-bound"
    assert [each.places for each in standings([cell]) if each.metric == "throughput"] == [[]]


def test_the_baseline_is_its_own_ceiling(tmp_path: Path, baseline: Target) -> None:
    target = Target(described("the-same"), baseline.start)
    result = compare(tmp_path, settings(), target, baseline=baseline)
    check = check_of(result.cells[0], "generator")
    assert check.numbers["ceiling"] == result.ceilings[0].rate.median > 0


def test_a_peak_that_is_the_generators_own(tmp_path: Path) -> None:
    slow = replace(odd("delay"), described=described("slow"))  # in the baseline's place
    cells = compare(tmp_path, open_loop(), backend("epoll-lt"), baseline=slow).cells
    for cell in (each for each in cells if each.of_peak):
        assert cell.verdict == "generator-bound"
        assert "the generator limited the peak" in check_of(cell, "peak").evidence


def test_who_cannot_run_is_told_and_costs_nobody_else(tmp_path: Path) -> None:
    def refuse(_run_dir: RunDir, _workers: int, _stack: ExitStack) -> Instance:
        raise LabError("it fell over")

    missing = Target(described("missing", "it is not installed"), refuse)
    broken = Target(described("broken"), refuse)
    result = compare(tmp_path, settings(), missing, broken, backend("epoll-lt"))
    cells = by_name(result)
    assert cells["missing"].verdict == cells["broken"].verdict == "unavailable"
    assert cells["broken"].notes == ["it fell over"]
    assert [each.unavailable for each in result.architectures] == [
        "it is not installed", "it fell over", "",
    ]  # fmt: skip
    assert cells["epoll-lt"].rounds


def test_who_falls_over_after_five_good_rounds(tmp_path: Path) -> None:
    able, starts = backend("epoll-lt"), count()

    def start(run_dir: RunDir, workers: int, stack: ExitStack) -> Instance:
        if next(starts) == 5:
            raise LabError("it fell over")
        return able.start(run_dir, workers, stack)

    tired = Target(able.described, start, resident=False)  # it is started for each round
    (cell,) = compare(tmp_path, settings(rounds=7), tired).cells
    assert len(cell.rounds) == 5
    assert cell.verdict == "errors"
    assert cell.notes[0] == "it fell over"


def test_what_only_the_witness_sees(tmp_path: Path) -> None:
    plan = replace(settings(deeply=True), duration=1.5)
    (cell,) = compare(tmp_path, plan, odd("fussy")).cells
    own, witness = cell.rounds
    assert own.wrong == {}
    assert (witness.driver, witness.wrong) == ("locust", {"body": witness.answered})
    assert cell.verdict != "wrong-answers"
    told = [note for note in cell.notes if note.startswith("by locust ")]
    assert f"; wrong: {witness.answered:,} body" in told[0]


def test_the_baseline_is_no_measure_of_a_rate_that_all_keep(
    tmp_path: Path, baseline: Target
) -> None:
    (cell,) = compare(tmp_path, open_loop(100.0), backend("epoll-lt"), baseline=baseline).cells
    check = check_of(cell, "generator")
    assert check.numbers["ceiling"] > 200, "of a closed loop"
    assert check.holds


def test_who_has_no_peak_has_no_share_of_it(tmp_path: Path) -> None:
    result = compare(tmp_path, open_loop(), odd("silent"), backend("epoll-lt"))
    silent = [cell for cell in result.cells if cell.architecture == "silent" and cell.of_peak]
    assert [cell.verdict for cell in silent] == ["unavailable"] * len(SHARES)
    assert all(cell.rate is None and "no peak" in cell.notes[0] for cell in silent)
    others = [cell for cell in result.cells if cell.architecture == "epoll-lt"]
    assert all(cell.rounds for cell in others), "the others go on"
    assert [cell.rate for cell in others if cell.rate and not cell.of_peak] != []


def test_a_stalled_server_shows_in_the_open_loop_and_not_in_the_closed_one(tmp_path: Path) -> None:
    # Of the time 43 % is a stall, so that a third and more of what was intended waits for its end;
    # the closed loop asks nothing meanwhile, and has 2 slow answers for each stall among thousands.
    plan = open_loop(duration=1.5)
    cells = {level_of(each): each for each in compare(tmp_path, plan, odd("stall")).cells}
    closed = cells.pop(CLOSED)
    assert closed.summary is not None
    assert closed.summary.p99_ms.median < 50
    assert closed.rounds[0].latency.max_ms > 150, "it was stalled, too"
    assert len(cells) == len(SHARES) + 1
    for cell in cells.values():
        assert cell.summary is not None
        assert cell.summary.p99_ms.median > 150, cell.rate
