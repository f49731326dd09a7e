"""What a trial is: what it sends, what has to hold, and the verdict that a run leaves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_BUGS: Final = ("bug: Traceback", "an error in the worker", "Fatal Python error")
"""What gateway, worker and interpreter log of an error of their own."""


@dataclass(frozen=True)
class Settings:
    """How a run goes: see `python -m lab.trials --help`."""

    folder: Path
    seconds: float = 60.0  # of load in the longest trial; the others are scaled with it
    seed: int = 0  # of everything random
    slack: float = (
        1.0  # factor for every bound on a time; tests, which time nothing, use a large one
    )

    def scaled(self, count: int, least: int) -> int:
        """Return how many of `count` things a run of this length does, `least` at the fewest."""
        return max(least, round(count * self.seconds / 60.0))


class Verdict:
    """What a trial has measured, and what did not hold."""

    def __init__(self) -> None:
        self.measured: list[str] = []
        self.broken: list[str] = []
        self.skipped = ""  # the reason why the trial cannot run here

    def note(self, text: str) -> None:
        """Report a measurement that decides nothing."""
        self.measured.append(text)

    def require(self, holds: bool, text: str) -> None:
        """Report the measurement `text`; it breaks the trial unless it `holds`."""
        self.measured.append(text)
        if not holds:
            self.broken.append(text)

    @property
    def holds(self) -> bool:
        """Whether nothing was broken."""
        return not self.broken


@dataclass(frozen=True)
class Trial:
    """A trial; `run` starts its programs, ends them, and fills the verdict."""

    name: str
    sent: str
    to_hold: str
    run: Callable[[Settings, Verdict], None]

    def undergo(self, settings: Settings, verdict: Verdict) -> None:
        """Run it; whatever else has to hold, no program may have met a bug of its own."""
        self.run(settings, verdict)
        if verdict.skipped:
            return
        logs = [path for ending in ("log", "piped") for path in settings.folder.glob(f"*.{ending}")]
        texts = [log.read_text(errors="replace") for log in logs]
        bugs = sum(text.count(bug) for text in texts for bug in _BUGS)
        verdict.require(not bugs, f"bugs in the logs of the programs: {bugs}")


@dataclass
class Result:
    """A trial with its verdict."""

    trial: Trial
    verdict: Verdict = field(default_factory=Verdict)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON types; `held` is null if the trial was skipped."""
        verdict = self.verdict
        return {
            "trial": self.trial.name,
            "sent": self.trial.sent,
            "to_hold": self.trial.to_hold,
            "measured": verdict.measured,
            "broken": verdict.broken,
            "skipped": verdict.skipped,
            "held": None if verdict.skipped else verdict.holds,
            "seconds": round(self.seconds, 1),
        }
