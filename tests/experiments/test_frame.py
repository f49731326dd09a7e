"""The frame: ids, bounds, crashes; the last two with experiments that are made to break."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.catalogue import CLAIMS, MODULES, UnknownClaim, choose, find
from experiments.outcome import Outcome

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_shows_what_the_catalogue_says(module: str) -> None:
    experiment = find(MODULES[module][0])
    assert tuple(experiment.claims) == MODULES[module]
    assert experiment.source == f"experiments/{module}.py"
    assert (ROOT / experiment.source).is_file()


def test_ids_are_chosen_in_any_case_once_and_in_order() -> None:
    assert [each.key for each in choose(["k1", "K1"])] == ["K1"]
    assert choose(["k1-k3"])[0].key == "K1"
    assert len(choose(["all"])) == len(MODULES)


@pytest.mark.parametrize("name", ["K99", "", "Z1-Z3", "K"])
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
