"""What comes of running an experiment: findings always, numbers unless it could not be run."""

import json
from dataclasses import asdict, dataclass, field

from experiments.frame import NOT_MEASURED, Experiment, Finding, NotHere, Numbers


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one run."""

    key: str
    """Of the experiment."""
    seconds: float
    """It took."""
    findings: list[Finding]
    numbers: Numbers = field(default_factory=dict)
    failed: bool = False
    """It crashed or went past its bounds: that says nothing about the claim or the machine."""

    def to_json(self) -> str:
        """Return it as a JSON object."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """Return what `to_json` wrote; ValueError, KeyError or TypeError on anything else."""
        found = json.loads(text)
        return cls(**{**found, "findings": [Finding(**each) for each in found["findings"]]})


def not_here(experiment: Experiment, seconds: float, lack: NotHere) -> Outcome:
    """Return the outcome of an experiment that this machine cannot run."""
    why = f"{lack.reason}; {lack.remedy}" if lack.remedy else lack.reason
    return Outcome(experiment.key, seconds, _unmeasured(experiment, why))


def failure(experiment: Experiment, seconds: float, why: str) -> Outcome:
    """Return the outcome of one that broke."""
    return Outcome(experiment.key, seconds, _unmeasured(experiment, why), failed=True)


def _unmeasured(experiment: Experiment, why: str) -> list[Finding]:
    return [Finding(claim, NOT_MEASURED, why) for claim in experiment.claims]
