"""A run of several experiments: when and where it ran, and the outcome of each."""

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
"""Version of the JSON; incremented when a field changes its meaning."""

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """An experiment and its outcome."""

    experiment: Experiment
    outcome: Outcome

    @property
    def command(self) -> str:
        """The command that repeats the experiment."""
        return f"lab experiment {self.experiment.key.lower()}"

    @property
    def source(self) -> str:
        """The source text of the experiment."""
        return (ROOT / self.experiment.source).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Record:
    """The run."""

    started: datetime
    machine: dict[str, str]
    entries: Sequence[Entry]

    @property
    def seconds(self) -> float:
        """Total duration of the experiments."""
        return sum(entry.outcome.seconds for entry in self.entries)

    def count(self, verdict: str) -> int:
        """Return how many findings have this verdict."""
        findings = (each for entry in self.entries for each in entry.outcome.findings)
        return sum(each.verdict == verdict for each in findings)

    def to_json(self) -> str:
        """Return the record as JSON, for programs."""
        whole = {
            "version": VERSION,
            "started": self.started.isoformat(timespec="seconds"),
            "machine": self.machine,
            "experiments": [_described(entry) for entry in self.entries],
        }
        return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def begin() -> datetime:
    """Return the start time of a run: now."""
    return datetime.now(UTC)


def machine() -> dict[str, str]:
    """Return the hardware and software that the numbers depend on."""
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
