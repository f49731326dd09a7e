"""The book: one HTML page with all experiments of a run, in the order of the notes.

    write(record, Path("book.html"))

Each claim has its verdict and key number, figures, the command that repeats it, all numbers and the
full source. The page is self-contained: it opens offline.
"""

import json
from itertools import groupby
from pathlib import Path
from typing import Final

from chainlab.pages import environment
from experiments.frame import CONFIRMED, NOT_MEASURED, REFUTED
from experiments.record import Entry, Record
from experiments.show import MARKS

PARTS: Final = {
    "K": "Kernel, processes, descriptors",
    "M": "The five I/O models",
    "E": "select, poll, epoll",
    "S": "The stages",
}
"""The parts of the notes, by the first letter of a claim's id."""

CLASSES: Final = {CONFIRMED: "confirmed", REFUTED: "refuted", NOT_MEASURED: "absent-here"}


def render(record: Record) -> str:
    """Return the HTML."""
    parts = [
        (PARTS[letter], letter.lower(), list(entries))
        for letter, entries in groupby(record.entries, lambda entry: entry.experiment.key[0])
    ]
    template = environment("experiments.book", "page").get_template("page.html")
    return template.render(
        record=record, parts=parts, marks=MARKS, classes=CLASSES, numbers=_numbers
    )


def write(record: Record, path: Path) -> None:
    """Write the page."""
    path.write_text(render(record), encoding="utf-8")


def _numbers(entry: Entry) -> str:
    return json.dumps(entry.outcome.numbers, indent=1, ensure_ascii=False)
