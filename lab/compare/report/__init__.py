"""The report: one HTML page from a comparison's result, which opens offline and needs nothing else.

    write(result, Path("report.html"))

words      numbers and lists as a reader wants them, and the marks of the verdicts
headline   what was compared and found, in words; leads, inversions: the sentences
picks      the order of architectures, and which have a colour
sections   the parts of the page
slots      what a picked architecture looks like, and curves with a line for each
lines, distributions, turning      figures with a line for each architecture; across: their axes
bars, costs, kernel                figures with a bar for each: CPU, system calls, memory
evidence   the rules and what broke them, the manifest, the table of all cells
page/      the template, its style and its script

What it shares with other pages, among it what a figure is and how one is drawn, is in `pages`.
"""

from pathlib import Path
from typing import Final

from chainlab.pages import environment
from chainlab.pages.formatting import number
from lab.compare.report import costs, distributions, evidence, headline, kernel, lines
from lab.compare.report import formatting as words
from lab.compare.report import rank_changes as turning
from lab.compare.report.legend import SLOTS
from lab.compare.report.selection import by_place, picks
from lab.compare.result import Result

LIMIT: Final = 3_000_000
"""Bytes of a page: what a phone loads and lays out without a wait, and a mail carries."""


class TooLarge(ValueError):
    """The page would be above LIMIT; the message says what to leave out."""


def render(result: Result) -> str:
    """Return the page's text."""
    templates = environment("lab.compare.report", "page")
    templates.filters.update(number=number, span=words.span, told=words.with_names)
    return templates.get_template("page.html").render(
        title=headline.title(result),
        subtitle=headline.subtitle(result),
        stories=headline.stories(result),
        warnings=headline.warnings(result),
        families=picks(result),
        slots=SLOTS,
        marks=words.MARKS,
        sections=[
            lines.section(result),
            distributions.section(result),
            costs.section(result),
            kernel.system_calls(result),
            kernel.memory(result),
            turning.section(result),
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
    """Write the page; TooLarge when it would be above LIMIT, and nothing is written."""
    page = render(result).encode()
    if len(page) > LIMIT:
        raise TooLarge(
            f"the page of {len(result.cells):,} figures would have {len(page) / 1e6:.1f} MB, and "
            f"{LIMIT / 1e6:g} MB are the limit: compare fewer architectures at a time, or fewer "
            f"--route or --connections"
        )
    path.write_bytes(page)
