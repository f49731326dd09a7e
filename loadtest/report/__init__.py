"""The report: one HTML page from a comparison's result, which opens offline and needs nothing else.

    write(result, Path("report.html"))

words      numbers and lists as a reader wants them, and the marks of the verdicts
headline   what was compared and found, in words; leads, inversions: the sentences
picks      the order of architectures, and which have a colour
charts     what a figure is: what is drawn, and the same as a table
vega       what the drawings share: colours, axes, curves
lines, distributions, turning      figures with a line for each architecture; across: their axes
bars, costs, kernel                figures with a bar for each: CPU, system calls, memory
evidence   the rules and what broke them, the manifest, the table of all cells
page/      the template, its style and its script

The charts are Vega-Lite's. Its JavaScript comes out of the vl-convert-python package and goes into
the page whole, 0.9 MB: the reader's browser draws, so that lines can be picked, a chart has the
width of its screen, and colours follow the reader's scheme. Taking it out costs some three seconds.
"""

from functools import cache
from pathlib import Path
from typing import Final

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from loadtest.compare.result import Result
from loadtest.report import (
    costs,
    distributions,
    evidence,
    headline,
    kernel,
    lines,
    turning,
    words,
)
from loadtest.report.picks import by_place, picks
from loadtest.report.vega import CONFIG, SLOTS

LICENCE: Final = "Vega, Vega-Lite, Vega-Embed: BSD 3-Clause, University of Washington and others."


def render(result: Result) -> str:
    """Return the page's text."""
    environment = Environment(
        loader=PackageLoader("loadtest.report", "page"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=words.number, span=words.span, told=words.with_names)
    return environment.get_template("page.html").render(
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
        config=CONFIG,
        library=_library(),
        licence=LICENCE,
    )


def write(result: Result, path: Path) -> None:
    """Write the page."""
    path.write_text(render(result), encoding="utf-8")


@cache
def _library() -> str:
    """Return Vega's JavaScript, fit to stand in a page."""
    text: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")
