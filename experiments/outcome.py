"""The result of running an experiment: findings, and numbers if it ran."""

import json
from dataclasses import asdict, dataclass, field

from experiments.frame import NOT_MEASURED, Experiment, Finding, NotHere, Numbers


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one experiment."""

    key: str
    """The experiment's key."""
    seconds: float
    """Duration of the run."""
    findings: list[Finding]
    numbers: Numbers = field(default_factory=dict)
    failed: bool = False
    """True if it crashed or exceeded a limit, which says nothing about the claim or the machine."""

    def to_json(self) -> str:
        """Return the outcome as a JSON object."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """Parse what `to_json` wrote; ValueError, KeyError or TypeError on anything else."""
        found = json.loads(text)
        return cls(**{**found, "findings": [Finding(**each) for each in found["findings"]]})


def not_here(experiment: Experiment, seconds: float, lack: NotHere) -> Outcome:
    """Return the outcome of an experiment that this machine cannot run."""
    why = f"{lack.reason}; {lack.remedy}" if lack.remedy else lack.reason
    return Outcome(experiment.key, seconds, _unmeasured(experiment, why))


def failure(experiment: Experiment, seconds: float, why: str) -> Outcome:
    """Return the outcome of an experiment that crashed or exceeded a limit."""
    return Outcome(experiment.key, seconds, _unmeasured(experiment, why), failed=True)


def _unmeasured(experiment: Experiment, why: str) -> list[Finding]:
    return [Finding(claim, NOT_MEASURED, why) for claim in experiment.claims]
