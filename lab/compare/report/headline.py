"""The top of the page: what was compared and what was found, in words.

The sentences come from the standings, so they follow tie groups, never single ranks.
"""

from dataclasses import dataclass

from chainlab.pages.formatting import duration, joined, number, plural
from lab.compare.report.findings import findings
from lab.compare.report.order_reversals import turned
from lab.compare.report.selection import routes_of
from lab.compare.result import Result


@dataclass(frozen=True, slots=True)
class Topic:
    """Sentences about one subject."""

    title: str
    sentences: list[str]


@dataclass(frozen=True, slots=True)
class Story:
    """The findings on a route."""

    route: str
    path: str
    topics: list[Topic]


def title(result: Result) -> str:
    """Return what was compared."""
    measured = [each for each in result.architectures if not each.unavailable]
    routes = routes_of(result)
    what = plural(len(measured), "server architecture")
    return f"{what} on {joined(routes)}" if routes else what


def subtitle(result: Result) -> str:
    """Return one line on how it was measured."""
    about = result.manifest
    started = about.started[:16].replace("T", " ")
    where = f"Linux {about.kernel}" + (", servers in containers" if about.images else "")
    return (
        f"{plural(about.rounds, 'round')} of {number(about.duration)} s for each figure, "
        f"{plural(about.cores, 'core')} of {about.cpu_model or 'an unnamed CPU'}, "
        f"{where}; {started} UTC, in {duration(about.seconds)}"
    )


def warnings(result: Result) -> list[str]:
    """Return what a reader must know before any figure."""
    found = []
    if not result.manifest.complete:
        found.append("Interrupted: some figures have fewer rounds than wanted.")
    absent = [each.name for each in result.architectures if each.unavailable]
    if absent:
        found.append(f"Not measured: {joined(absent)}. The verdicts below say why.")
    cells = [cell for cell in result.cells if cell.verdict != "unavailable"]
    invalid = [cell for cell in cells if cell.verdict != "valid"]
    if invalid:
        kinds = sorted({cell.verdict for cell in invalid})
        found.append(
            f"{len(invalid)} of {plural(len(cells), 'measurement')} broke a rule "
            f"({joined(kinds)}); they are marked wherever they appear."
        )
    return found


def stories(result: Result) -> list[Story]:
    """Return the findings, route by route."""
    return [
        Story(route, result.manifest.paths.get(route, ""), _topics(result, route))
        for route in routes_of(result)
    ]


def _topics(result: Result, route: str) -> list[Topic]:
    crossings = [each.sentence for each in result.crossings if each.route == route]
    found = [
        Topic("Throughput", findings(result, route, "throughput")),
        Topic("Latency", findings(result, route, "p99")),
        Topic("CPU", findings(result, route, "cpu")),
        Topic(
            "Where the order changes", [*map(_with_full_stop, crossings), *turned(result, route)]
        ),
    ]
    return [each for each in found if each.sentences]


def _with_full_stop(sentence: str) -> str:
    return sentence if sentence.endswith(".") else f"{sentence}."
