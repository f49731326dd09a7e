"""What an experiment is: claims of the notes, a measurement, a judge and figures.

    EXPERIMENT = Experiment(
        claims={"K1": "A user process cannot touch the kernel's half of the address space."},
        title="…", method="…", measure=measure, judge=judge, figures=figures,
    )

`measure` alone touches the machine. It runs in a process of its own, within `limits`, and returns
what JSON can hold; keys are strings. `judge` and `figures` are pure functions of these numbers, so
that a verdict can be tested with numbers that no machine here would give.
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
    """Raised by `measure`: this machine lacks something; what, and what would get it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Limits:
    """What an experiment may use. `measure` is given what it really got, which may be less."""

    seconds: float = 30.0
    """Of wall time; then its process group is killed."""
    cpu_seconds: int = 60
    """Of each of its processes."""
    memory: int = 1 << 30
    """Bytes of address space of each of its processes."""
    descriptors: int = 1024
    """Of each of its processes; fewer where the hard limit is lower."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one claim, or on one part of it."""

    claim: str
    """Its id: K1."""
    verdict: Verdict
    key: str
    """The number that decides, in a sentence; where it was not measured: why, and the remedy."""
    scope: str = ""
    """Where the notes may have meant otherwise, or what the verdict does not cover."""
    part: str = ""
    """Which part of the claim, where it is judged in parts: "the hint"."""


def verdict(holds: bool) -> Verdict:
    """Return confirmed or refuted."""
    return CONFIRMED if holds else REFUTED


def _nothing(_numbers: Numbers) -> Sequence[Chart]:
    return ()


@dataclass(frozen=True)
class Experiment:
    """One run, and what it says about a claim or a close group of claims."""

    claims: Mapping[str, str]
    """By id: what the notes say, in one sentence."""
    title: str
    method: str
    """How it is measured, in one or two sentences."""
    measure: Callable[[Limits], Numbers]
    """Run it; NotHere when the machine cannot."""
    judge: Callable[[Numbers], list[Finding]]
    """Return one finding at least for each claim."""
    figures: Callable[[Numbers], Sequence[Chart]] = _nothing
    """Return what a picture says better; keys begin with the experiment's."""
    limits: Limits = field(default_factory=Limits)

    @property
    def key(self) -> str:
        """The first of its ids."""
        return next(iter(self.claims))

    @property
    def name(self) -> str:
        """Its ids, as a reader names them: `K1`, `E3, E4, E15`."""
        return ", ".join(self.claims)

    @property
    def source(self) -> str:
        """The path of its file in the repository."""
        module = importlib.import_module(self.measure.__module__)
        path = Path(module.__file__ or "")
        return f"{path.parent.name}/{path.name}"
