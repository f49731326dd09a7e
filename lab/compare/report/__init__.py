"""The report: one HTML page made from a comparison's result. It works offline and loads nothing.

    write(result, Path("report.html"))

formatting     cells, intervals and verdicts in words (numbers: chainlab.pages.formatting)
headline       what was compared and found; findings and order_reversals make the sentences
selection      the order of architectures, and which of them have a colour
sections       the parts of the page
legend         colour, dash and marker of a selected architecture, and its curves
lines, distributions, rank_changes   figures with a line per architecture; across: their axes
bars, costs, kernel                  figures with a bar per architecture: CPU, calls, memory
evidence       the rules and what broke them, the manifest, the table of all cells
page/          the template, its style and its script
terminal       the ranking and the verdicts as tables in the terminal

`chainlab.pages` has what all pages of the project share.
"""

from pathlib import Path
from typing import Final

from chainlab.pages import environment
from chainlab.pages.formatting import number
from lab.compare.report import (
    costs,
    distributions,
    evidence,
    formatting,
    headline,
    kernel,
    lines,
    rank_changes,
)
from lab.compare.report.legend import SLOTS
from lab.compare.report.selection import by_place, legend
from lab.compare.result import Result

LIMIT: Final = 3_000_000
"""Bytes of a page: a phone still shows it without a wait, and it fits into a mail."""


class TooLarge(ValueError):
    """The page would exceed LIMIT; the message says what to leave out."""


def render(result: Result) -> str:
    """Return the page's text."""
    templates = environment("lab.compare.report", "page")
    templates.filters.update(number=number, span=formatting.span, with_names=formatting.with_names)
    return templates.get_template("page.html").render(
        title=headline.title(result),
        subtitle=headline.subtitle(result),
        stories=headline.stories(result),
        warnings=headline.warnings(result),
        families=legend(result),
        slots=SLOTS,
        symbols=formatting.SYMBOLS,
        sections=[
            lines.section(result),
            distributions.section(result),
            costs.section(result),
            kernel.system_calls(result),
            kernel.memory(result),
            rank_changes.section(result),
        ],
        rules=evidence.rules(result),
        broken=evidence.broken(result),
        absent=evidence.absent(result),
        places=evidence.places(result),
        ceilings=result.ceilings,
        manifest=evidence.manifest(result),
        remarks=evidence.remarks(result),
        head=evidence.HEAD,
        cells=evidence.cells(by_place(result)),
        names=[each.name for each in result.architectures],
    )


def write(result: Result, path: Path) -> None:
    """Write the page; TooLarge, without a file, if it would exceed LIMIT."""
    page = render(result).encode()
    if len(page) > LIMIT:
        raise TooLarge(
            f"the page of {len(result.cells):,} figures would have {len(page) / 1e6:.1f} MB; the "
            f"limit is {LIMIT / 1e6:g} MB: compare fewer architectures at a time, or give fewer "
            f"--route or --connections"
        )
    path.write_bytes(page)
