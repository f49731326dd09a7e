"""A run of several experiments: what was asked, where it ran, what came of each."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from experiments.frame import Experiment
from experiments.outcome import Outcome
from loadtest import manifest

VERSION: Final = 1
"""Of the JSON: raised when a field changes its meaning."""

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """An experiment and what came of it."""

    experiment: Experiment
    outcome: Outcome

    @property
    def command(self) -> str:
        """What runs it again."""
        return f"lab experiment {self.experiment.key.lower()}"

    @property
    def source(self) -> str:
        """The text of its file."""
        return (ROOT / self.experiment.source).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Record:
    """The run."""

    started: datetime
    machine: dict[str, str]
    entries: Sequence[Entry]

    @property
    def seconds(self) -> float:
        """What the experiments took."""
        return sum(entry.outcome.seconds for entry in self.entries)

    def count(self, verdict: str) -> int:
        """Return how many findings have a verdict."""
        findings = (each for entry in self.entries for each in entry.outcome.findings)
        return sum(each.verdict == verdict for each in findings)

    def to_json(self) -> str:
        """Return it for programs."""
        whole = {
            "version": VERSION,
            "started": self.started.isoformat(timespec="seconds"),
            "machine": self.machine,
            "experiments": [_described(entry) for entry in self.entries],
        }
        return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def begin() -> datetime:
    """Return the time at which a run starts."""
    return datetime.now(UTC)


def machine() -> dict[str, str]:
    """Return what the numbers depend on."""
    found = {
        "processor": f"{len(manifest.cores())} cores of {manifest.cpu_model()}",
        "kernel": manifest.kernel(),
        **manifest.versions([], {}),
    }
    if commit := manifest.commit(ROOT):
        found["commit"] = commit
    return found


def _described(entry: Entry) -> dict[str, Any]:
    experiment = entry.experiment
    return {
        **asdict(entry.outcome),
        "title": experiment.title,
        "claims": dict(experiment.claims),
        "method": experiment.method,
        "source": experiment.source,
        "command": entry.command,
    }
