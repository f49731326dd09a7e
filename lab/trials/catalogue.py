"""All trials, in the order in which they run."""

from typing import Final

from lab.trials import crashes, mutations, name_server, reloads, resources, restarts, slow_peers
from lab.trials.trial import Trial

TRIALS: Final[tuple[Trial, ...]] = (
    slow_peers.TRIAL,
    *resources.TRIALS,
    name_server.TRIAL,
    crashes.TRIAL,
    reloads.TRIAL,
    *mutations.TRIALS,
    restarts.TRIAL,
)


def find(name: str) -> list[Trial]:
    """Return the trial called `name`, or all whose name begins with `name/`."""
    return [trial for trial in TRIALS if trial.name == name or trial.name.startswith(f"{name}/")]
