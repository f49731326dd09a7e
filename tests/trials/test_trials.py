"""Each trial of lab/trials, scaled down: what is counted has to hold; times decide nothing."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.trials.__main__ import main
from lab.trials.catalogue import TRIALS
from lab.trials.load import quantile
from lab.trials.mutate import Mutator
from lab.trials.programs import configuration
from lab.trials.reloads import BROKEN
from lab.trials.trial import Settings, Trial, Verdict

SHORT = 4.0  # seconds of load in the longest trial
SLACK = 100.0  # bounds on times are a hundred times wider


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_it_holds(trial: Trial, tmp_path: Path) -> None:
    verdict = Verdict()
    trial.undergo(Settings(tmp_path, SHORT, seed=1, slack=SLACK), verdict)
    if verdict.skipped:
        pytest.skip(verdict.skipped)
    assert verdict.measured
    assert not verdict.broken, "\n".join(verdict.measured)


def test_a_verdict_is_broken_by_what_does_not_hold() -> None:
    verdict = Verdict()
    verdict.note("10 requests")
    verdict.require(True, "0 orphans")
    assert verdict.holds
    verdict.require(False, "1 stale socket")
    assert not verdict.holds
    assert verdict.measured == ["10 requests", "0 orphans", "1 stale socket"]
    assert verdict.broken == ["1 stale socket"]


def test_a_bug_in_a_log_breaks_any_trial(tmp_path: Path) -> None:
    def logs(settings: Settings, _verdict: Verdict) -> None:
        (settings.folder / "gateway.log").write_text("[error] 1: bug: Traceback (most recent …\n")

    verdict = Verdict()
    Trial("logs", "nothing", "no bug", logs).undergo(Settings(tmp_path), verdict)
    assert verdict.broken == ["bugs in the logs of the programs: 1"]


def test_an_unknown_trial_is_refused_with_the_names_of_the_others() -> None:
    result = CliRunner().invoke(main, ["--only", "slowpeers"])
    assert result.exit_code == 2
    assert "no trial is called 'slowpeers'" in result.output
    assert "slow-peers" in result.output


def test_mutations_repeat_with_their_seed_and_differ_without() -> None:
    corpus = (b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")
    drawn = [Mutator(corpus, seed).draw() for seed in range(300)]
    assert drawn == [Mutator(corpus, seed).draw() for seed in range(300)]
    assert len(set(drawn)) > 200
    assert all(drawn)


def test_every_broken_configuration_differs_from_the_good_one() -> None:
    good = configuration("unix:/run/w.sock", workers=2)
    assert all(break_it(good) != good for _, break_it in BROKEN)


def test_quantiles_are_values_that_were_measured() -> None:
    assert quantile([], 0.5) == 0.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(number) for number in range(1, 101)], 0.99) == 99.0
    assert quantile([1.0, 2.0], 1.0) == 2.0
