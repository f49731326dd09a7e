"""A run of all experiments, kept beside this file, for what is made of one.

Record it again when an experiment's numbers have another shape:
lab experiment all --json tests/experiments/sample.json
"""

import json
from dataclasses import fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from experiments.catalogue import find
from experiments.outcome import Outcome
from experiments.record import Entry, Record


@cache
def sample() -> Record:
    """Return the run."""
    found = json.loads((Path(__file__).parent / "sample.json").read_text(encoding="utf-8"))
    entries = [Entry(find(each["key"]), _outcome(each)) for each in found["experiments"]]
    return Record(datetime.fromisoformat(found["started"]), found["machine"], entries)


def _outcome(described: dict[str, Any]) -> Outcome:
    names = {each.name for each in fields(Outcome)}
    return Outcome.from_json(json.dumps({key: described[key] for key in names}))
