"""What `lab compare` decides before it begins: how much fits into the time, who runs where."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.chain.backends import BACKENDS
from lab.chain.rundir import RunDir
from lab.compare.drive.budget import FULL, LOCUST_TRIAL, QUICK, SHORTEST, Budget
from lab.compare.drive.levels import SHARES
from lab.compare.drive.targets import BASELINE, Target
from lab.compare.drive.trial import Cores
from lab.compare.settings import ROUTES, count_loads, decide
from servers.app import contract
from tests.lab.compare.comparing import backend


@pytest.mark.parametrize("name", ROUTES)
def test_the_expected_answers_are_the_contracts(name: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = backend("epoll-lt").start(RunDir(tmp_path), 1, stack)
        contract.fetch(running.url, ROUTES[name].path).expect(200, ROUTES[name].body)


def test_all_of_it_fits_into_the_time() -> None:
    everything = len(BACKENDS) + 1
    numbers, rounds, duration, expected = decide(
        everything, ("hello",), None, None, None, quick=False
    )
    assert (numbers, rounds) == ((1, 8, 64, 512), 5)
    assert duration >= SHORTEST
    assert expected < FULL
    quick = decide(everything, ("hello",), None, None, None, quick=True)
    assert quick[:2] == ((8,), 5)
    assert quick[2] >= SHORTEST
    assert quick[3] < QUICK
    few = decide(4, ("hello",), None, None, None, quick=True)
    assert few[0] == (1, 8, 64, 512)
    assert few[3] < QUICK
    given = decide(everything, ("hello", "wait"), (1, 2), 7, 9.0, quick=True)
    assert given[:3] == ((1, 2), 7, 9.0), "what was asked for is done, and its time told"
    assert given[3] > QUICK


def test_what_does_not_take_place_costs_no_time() -> None:
    with_locust = decide(4, ("hello",), (64,), 5, 1.0, quick=False)[3]
    open_loop = decide(4, ("hello",), (64,), 5, 1.0, quick=False, mode="open", rates=(9.0,))[3]
    assert with_locust - open_loop == pytest.approx(3 * (1.0 + LOCUST_TRIAL))
    many = decide(4, ("hello",), (512,), 5, 1.0, quick=False)[3]
    assert many < with_locust, "no process of locust has so many users"
    few = [Budget(4, 1, (number,), 5).seconds(1.0) for number in (1, 512)]
    assert few[0] < few[1], "who has more connections takes longer to open them"


def test_the_peaks_and_their_shares_fit_into_the_time() -> None:
    assert [count_loads("closed", ()), count_loads("open", (5.0, 6.0))] == [1, 2]
    assert count_loads("open", ()) == 1 + len(SHARES) + 1
    everything = len(BACKENDS) + 1
    numbers, rounds, _, expected = decide(
        everything, ("hello",), None, None, None, quick=False, mode="open"
    )
    assert (numbers, rounds) == ((64,), 5), "fewer numbers of connections, not fewer rounds"
    assert expected < FULL
    assert decide(7, ("hello",), None, None, None, quick=True, mode="open")[3] < QUICK


@pytest.mark.parametrize(
    ("cores", "told"),
    [
        ([0, 1], "2 cores: generator and servers share them"),
        ([0, 1, 2, 3], "generator on cores 3, servers on 0, 1, 2"),
        (list(range(8)), "generator on cores 6, 7, servers on 0, 1, 2, 3, 4, 5"),
    ],
)
def test_the_generator_has_cores_of_its_own_where_there_are_four(
    cores: list[int], told: str
) -> None:
    assert str(Cores(cores)) == told
    assert Cores(cores).processes == max(1, len(cores) // 4)


def test_the_baseline_is_not_ranked(baseline: Target) -> None:
    assert baseline.name == BASELINE
    assert BASELINE not in BACKENDS
