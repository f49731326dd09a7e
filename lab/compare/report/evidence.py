"""The rules and what broke them, the places, the manifest, and the table of all cells."""

from dataclasses import dataclass
from typing import Final

from chainlab.pages.formatting import duration, number, plural
from lab.compare.report import formatting
from lab.compare.report.formatting import SYMBOLS, place
from lab.compare.report.lines import PERCENTILES, latency
from lab.compare.report.selection import by_place
from lab.compare.result import Cell, Check, Interval, Result
from loadtest.manifest import REACHED

METRICS: Final = {"throughput": "throughput", "cpu": "CPU per request", "p99": "p99 latency"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, how often it held, and its evidence in one measurement, `where`."""

    name: str
    held: int
    asked: int
    where: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A measurement that needs an explanation: not valid, or with a note."""

    architecture: str
    where: str
    verdict: str
    mark: str
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Figure:
    """A table's cell: its text and its sort key; "" sorts last."""

    text: str
    key: str | float


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table of all cells."""

    verdict: str
    figures: list[Figure]


def rules(result: Result) -> list[Rule]:
    """Return every rule, with the evidence of a measurement that broke it, if there is one."""
    found: dict[str, list[tuple[Cell, Check]]] = {}
    for cell in by_place(result):
        for check in cell.checks:
            found.setdefault(check.name, []).append((cell, check))
    return [
        Rule(
            name,
            sum(check.holds for _, check in pairs),
            len(pairs),
            *_example(min(pairs, key=lambda pair: pair[1].holds)),
        )
        for name, pairs in found.items()
    ]


def _example(pair: tuple[Cell, Check]) -> tuple[str, str]:
    cell, check = pair
    return f"{cell.architecture}, {place(cell)}", check.evidence


def broken(result: Result) -> list[Broken]:
    """Return the measurements that broke a rule or carry a note, and the evidence."""
    found = []
    absent = {each.name for each in result.architectures if each.unavailable}
    for cell in by_place(result):
        if cell.architecture in absent:  # listed under "Not measured" instead
            continue
        failed = [f"{each.name}: {each.evidence}" for each in cell.checks if not each.holds]
        known = {each.evidence for each in cell.checks if not each.holds}
        reasons = [*failed, *(note for note in cell.notes if note not in known)]
        reasons += [text for each in cell.rounds for text in each.evidence][:1]
        if cell.verdict != "valid" or reasons:
            mark = SYMBOLS[cell.verdict][0]
            found.append(Broken(cell.architecture, place(cell), cell.verdict, mark, reasons))
    return found


def absent(result: Result) -> list[tuple[str, str]]:
    """Return the architectures that could not be measured, and why."""
    return [(each.name, each.unavailable) for each in result.architectures if each.unavailable]


def remarks(result: Result) -> list[tuple[str, str]]:
    """Return the architectures whose model differs, and how."""
    return [(each.name, each.note) for each in result.architectures if each.note]


def places(result: Result) -> list[list[str]]:
    """Return the tie groups: where, metric, groups in words, and those without a place."""
    return [
        [
            place(each),
            METRICS[each.metric],
            "; ".join(f"{tie.place}. {' = '.join(tie.architectures)}" for tie in each.places)
            or "–",
            ", ".join(f"{name} ({verdict})" for name, verdict in each.unplaced.items()) or "–",
        ]
        for each in result.standings
    ]


def manifest(result: Result) -> list[tuple[str, str]]:
    """Return the manifest's facts, as name and text."""
    about = result.manifest
    return [
        ("command", about.command),
        ("started", about.started),
        ("took", duration(about.seconds) + ("" if about.complete else ", interrupted")),
        ("commit", about.commit or "outside a repository"),
        ("rounds", f"{about.rounds} of {number(about.duration)} s, seed {about.seed}"),
        ("paths", _pairs(about.paths)),
        ("kernel", about.kernel),
        ("CPU", f"{about.cpu_model}, {plural(about.cores, 'core')}"),
        ("core assignment", about.cpus),
        ("governor", about.governor),
        ("congestion control", about.congestion),
        ("limits", _pairs(about.limits)),
        ("versions", _pairs(about.versions)),
        ("servers reached by", REACHED[about.reached]),
        *([("images", _pairs(about.images))] if about.images else []),
    ]


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "–"


HEAD: Final = [
    "architecture", "verdict", "route", "connections", "loop", "front", "answers/s", "interval",
    *(f"{name}, ms" for name in PERCENTILES), "CPU, µs", "switches", "least/mean", "driver",
]  # fmt: skip


def cells(measured: list[Cell]) -> list[Row]:
    """Return a row per cell, with columns in the order of HEAD."""
    return [Row(cell.verdict, _figures(cell)) for cell in measured]


def _figures(cell: Cell) -> list[Figure]:
    rate, cpu = (cell.summary.throughput, cell.summary.cpu_us) if cell.summary else (None, None)
    loop = "closed" if cell.mode == "closed" else f"open, {formatting.load(cell)}"
    if cell.of_peak is not None:
        loop += f": {number(cell.rate)}/s"
    width = (rate.high - rate.low) / rate.median if rate and rate.median else None
    return [
        _text(cell.architecture),
        _text(f"{SYMBOLS[cell.verdict][0]} {cell.verdict}", cell.verdict),
        _text(cell.route),
        Figure(f"{cell.connections:,}", cell.connections),
        Figure(loop, cell.rate or 0),
        _text(cell.front),
        _median(rate),
        Figure(formatting.span(rate) if rate else "–", "" if width is None else round(width, 5)),
        *(_median(latency(cell, name)) for name in PERCENTILES),
        _median(cpu),
        _number(_switches(cell)),
        _number(_least(cell)),
        _text(cell.summary.driver if cell.summary else "–"),
    ]


def _text(text: str, key: str = "") -> Figure:
    return Figure(text, key or text)


def _number(value: float | None) -> Figure:
    return Figure(number(value), "" if value is None else float(f"{value:.5g}"))


def _median(interval: Interval | None) -> Figure:
    return _number(interval.median if interval else None)


def _switches(cell: Cell) -> float | None:
    """Return context switches per request of front and back end, in the last round that counts."""
    driver = cell.summary.driver if cell.summary else ""
    for each in [each for each in reversed(cell.rounds) if each.driver == driver]:
        found = [cost.switches for part, cost in each.cost.items() if part != "generator"]
        known = [value for value in found if value is not None]
        if known:
            return sum(known)
    return None


def _least(cell: Cell) -> float | None:
    """Return the least served client's answers divided by the mean, in the worst round."""
    shares = [
        each.least / each.mean for each in cell.rounds if each.least is not None and each.mean
    ]
    return min(shares, default=None)
