"""An experiment: claims of the notes, a measurement, a judge and figures.

    EXPERIMENT = Experiment(
        claims={"K1": "A user process cannot touch the kernel's half of the address space."},
        title="…", method="…", measure=measure, judge=judge, figures=figures,
    )

Only `measure` touches the machine. It runs in its own process, within `limits`, and returns JSON
values with string keys. `judge` and `figures` are pure functions of these numbers, so a test can
check verdicts on numbers that this machine would never produce.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from chainlab.pages.charts import Chart

Verdict = Literal["confirmed", "refuted", "not measured here"]

CONFIRMED: Final = "confirmed"
REFUTED: Final = "refuted"
NOT_MEASURED: Final = "not measured here"

Numbers = dict[str, Any]


class NotHere(Exception):
    """Raised by `measure` when this machine lacks something: the reason, and a remedy."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Limits:
    """What an experiment may use. `measure` receives the actual limits, which may be lower."""

    seconds: float = 30.0
    """Wall time; then the process group is killed."""
    cpu_seconds: int = 60
    """CPU time of each process."""
    memory: int = 1 << 30
    """Bytes of address space of each process."""
    descriptors: int = 1024
    """Open descriptors of each process; fewer if the hard limit is lower."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on a claim, or on part of one."""

    claim: str
    """The claim's id, such as K1."""
    verdict: Verdict
    key: str
    """The deciding number, in a sentence; if not measured, the reason and the remedy."""
    scope: str = ""
    """What else the notes may have meant, or what the verdict does not cover."""
    part: str = ""
    """Which part of the claim, if it is judged in parts, such as "the hint"."""


def verdict(holds: bool) -> Verdict:
    """Return confirmed or refuted."""
    return CONFIRMED if holds else REFUTED


def _nothing(_numbers: Numbers) -> Sequence[Chart]:
    return ()


@dataclass(frozen=True)
class Experiment:
    """One run that tests a claim or a group of related claims."""

    claims: Mapping[str, str]
    """What the notes say, in one sentence, by claim id."""
    title: str
    method: str
    """How the experiment measures, in one or two sentences."""
    measure: Callable[[Limits], Numbers]
    """Run the experiment; raise NotHere if this machine cannot."""
    judge: Callable[[Numbers], list[Finding]]
    """Return at least one finding per claim."""
    figures: Callable[[Numbers], Sequence[Chart]] = _nothing
    """Return charts whose keys start with the experiment's key."""
    limits: Limits = field(default_factory=Limits)

    @property
    def key(self) -> str:
        """The first claim id."""
        return next(iter(self.claims))

    @property
    def name(self) -> str:
        """All claim ids, for display: `K1` or `E3, E4, E15`."""
        return ", ".join(self.claims)

    @property
    def source(self) -> str:
        """The path of the experiment's file in the repository."""
        module = importlib.import_module(self.measure.__module__)
        path = Path(module.__file__ or "")
        return f"{path.parent.name}/{path.name}"
