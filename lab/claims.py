"""The claims of the notes, by id: what `lab explain E10` prints."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from experiments.catalogue import MODULES
from lab.chain.backends import BACKENDS

_ROW: Final = re.compile(r"\| ([KMES]\d+) \| (.+?) \| (.+?) \|")


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of the notes."""

    id: str
    says: str
    """What the notes say."""
    shown: str
    """What the run shows."""


@cache
def claims() -> dict[str, Claim]:
    """Return all claims of docs/claims.md by id, in the order of the notes."""
    text = files("experiments").joinpath("claims.md").read_text(encoding="utf-8")
    rows = (_ROW.fullmatch(line.strip()) for line in text.splitlines())
    return {row[1]: Claim(row[1], row[2], row[3]) for row in rows if row}


def experiment_of(claim: str) -> str | None:
    """Return the path of the experiment that measures a claim, or None."""
    found = (module for module, covered in MODULES.items() if claim in covered)
    return next((f"experiments/{module}.py" for module in found), None)


def shown_by(claim: str) -> list[str]:
    """Return the ids of the architectures that demonstrate a claim."""
    return [name for name, backend in BACKENDS.items() if claim in backend.spec.claims]
