"""The frame: ids, and bounds, with experiments made to misbehave."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.catalogue import CLAIMS, MODULES, UnknownClaim, choose, find
from experiments.frame import CONFIRMED, NOT_MEASURED
from experiments.outcome import Outcome
from experiments.running import watch
from tests.experiments.made import made
from tests.support.processes import is_alive, wait_until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_shows_what_the_catalogue_says(module: str) -> None:
    experiment = find(MODULES[module][0])
    assert tuple(experiment.claims) == MODULES[module]
    assert experiment.source == f"experiments/{module}.py"
    assert (ROOT / experiment.source).is_file()


def test_ids_are_chosen_in_any_case_once_and_in_order() -> None:
    assert [each.key for each in choose(["m1", "k1", "K1"])] == ["K1", "M0"]
    assert [each.key for each in choose(["k2-K4"])] == ["K2", "K3", "K4"]
    assert [each.key for each in choose(["m5–6"])] == ["M5", "M6"]
    assert len(choose(["all"])) == len(MODULES)


@pytest.mark.parametrize("name", ["K99", "", "Z1-Z3", "K", "K1-M2"])
def test_an_unknown_id_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(UnknownClaim) as caught:
        choose([name])
    assert all(claim in str(caught.value) for claim in CLAIMS)


def test_a_process_prints_one_outcome() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "k1", "--json", "-"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcome = Outcome.from_json(done.stdout)
    assert [each.claim for each in outcome.findings] == ["K1"]
    assert Outcome.from_json(outcome.to_json()) == outcome


def run(name: str, *arguments: str, seconds: float = 30) -> Outcome:
    command = [sys.executable, "-m", "tests.experiments.made", name, *arguments]
    return watch(made(name, seconds), command)


def told(outcome: Outcome) -> str:
    """What each of its findings says: that it was not measured, and why."""
    assert [each.claim for each in outcome.findings] == ["K98", "K99"]
    assert {each.verdict for each in outcome.findings} == {NOT_MEASURED}
    (key,) = {each.key for each in outcome.findings}
    return key


def test_one_that_crashes_says_where() -> None:
    outcome = run("crash")
    assert outcome.failed
    assert "ValueError: a crash on purpose" in told(outcome)
    assert "_crash" in told(outcome)


def test_one_that_is_killed_says_by_which_signal() -> None:
    outcome = run("fault")
    assert outcome.failed
    assert "SIGSEGV" in told(outcome)


@pytest.mark.long
def test_one_that_hangs_is_stopped_with_all_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    outcome = run("hang", str(pid_file), seconds=10)
    assert outcome.failed
    assert "not finished within 10 s" in told(outcome)
    pid = int(pid_file.read_text())
    wait_until(lambda: not is_alive(pid), "the child of the one that hung is gone")


def test_memory_is_bounded() -> None:
    outcome = run("eat")
    assert outcome.failed
    assert "MemoryError" in told(outcome)


def test_descriptors_are_bounded() -> None:
    outcome = run("open")
    assert not outcome.failed
    assert outcome.numbers["allowed"] == 50
    assert 30 < outcome.numbers["opened"] < 50


def test_what_the_machine_lacks_is_no_failure() -> None:
    outcome = run("lack")
    assert not outcome.failed
    assert told(outcome) == "no such thing on this machine; get one"


def test_what_an_experiment_prints_is_not_in_its_outcome() -> None:
    assert {each.verdict for each in run("say").findings} == {CONFIRMED}
