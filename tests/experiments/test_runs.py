"""Each experiment run for real: it ends by itself, with a finding for each claim, and numbers.

What depends on how fast a machine is, is not asserted: the verdict may be either. What the kernel
promises must be found.
"""

import pytest

from experiments import running
from experiments.catalogue import CLAIMS, MODULES, find
from experiments.frame import CONFIRMED, NOT_MEASURED, REFUTED
from experiments.outcome import Outcome

pytestmark = pytest.mark.long

PROMISED = {
    **{claim: [CONFIRMED] for claim in ["K1", "E1", "E2", "E6", "E8", "E10", "E14"]},
    "K5": [CONFIRMED] * 4,
    "E5": [REFUTED],
    "E7": [CONFIRMED, REFUTED],
    "S3": [CONFIRMED] * 4,
    "S4": [CONFIRMED] * 4,
}
"""What is found about claims that do not depend on time."""

NEEDING_RIGHTS = "S3"
"""What a machine may withhold: to capture packets, strace, tshark."""


def run(claim: str) -> Outcome:
    experiment = find(claim)
    outcome = running.run(experiment)
    assert not outcome.failed, outcome.findings
    assert {each.claim for each in outcome.findings} == set(experiment.claims)
    for finding in outcome.findings:
        assert finding.verdict in {CONFIRMED, REFUTED, NOT_MEASURED}
        assert finding.key
    for chart in experiment.figures(outcome.numbers) if outcome.numbers else []:
        assert chart.key.startswith(claim.lower())
        assert chart.table.rows
    return outcome


@pytest.mark.timeout(400)  # each bounds itself, S3 by the most
@pytest.mark.parametrize("claim", [claims[0] for claims in MODULES.values()])
def test_it_ends_with_findings_of_its_own(claim: str) -> None:
    outcome = run(claim)
    lacks = [each.key for each in outcome.findings if each.verdict == NOT_MEASURED]
    if claim == NEEDING_RIGHTS and lacks:
        pytest.skip(lacks[0])
    for each in find(claim).claims:
        if each in PROMISED:
            found = [finding.verdict for finding in outcome.findings if finding.claim == each]
            assert found == PROMISED[each], outcome.findings


def test_what_is_promised_is_shown() -> None:
    assert set(CLAIMS) >= set(PROMISED)
