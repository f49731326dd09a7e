"""The CPU cost of a request, by part of the chain, user and kernel.

A part's user time has the full colour and its kernel time a lighter one, so that they differ in
black and white too. The generator is not part of the chain: its cost is only in the table.
"""

from statistics import median
from typing import Final

from chainlab.pages.charts import Chart, Table, View
from chainlab.pages.formatting import number
from lab.compare.report.bars import Bar, stacked
from lab.compare.report.formatting import marked
from lab.compare.report.sections import Section, most
from lab.compare.report.selection import by_where
from lab.compare.result import Cell, Result

PARTS: Final = {"back": 0, "front": 1}
"""Parts of the chain, and their colours."""
KINDS: Final = {
    f"{part}, {mode}": f"var(--c{colour}{light})"
    for part, colour in PARTS.items()
    for mode, light in (("user", ""), ("kernel", "-light"))
}
COLUMNS: Final = [*KINDS, "generator, user", "generator, kernel"]


def section(result: Result) -> Section:
    """Return a figure with a view per route, connections and load."""
    views, rows = [], []
    for where, cells in by_where(result, [cell for cell in result.cells if cell.summary]):
        bars: list[Bar] = []
        for cell in cells:
            costs = _costs(cell)
            bars += [
                (cell.architecture, kind, costs[kind], cell.verdict)
                for kind in KINDS
                if kind in costs
            ]
            figures = [_figure(costs.get(kind), cell.verdict) for kind in COLUMNS]
            rows.append([cell.architecture, where, *figures])
        if bars:
            views.append(View(where, stacked(bars, KINDS, "CPU µs per request")))
    chart = Chart(
        "cpu",
        "User and kernel, front and back end",
        "Medians of the rounds, from the processes' CPU clocks. Lower is better. Unlike "
        "throughput, CPU cost is not limited by the generator, whose own cost is in the table.",
        views,
        Table(["architecture", "where", *(f"{kind}, µs" for kind in COLUMNS)], rows),
        first=most(result, views),
        legend=[(colour, kind) for kind, colour in KINDS.items()],
    )
    return Section(
        "cost",
        "CPU per request",
        "The CPU time of a request in the server, and in the kernel on the server's behalf.",
        [chart] if views else [],
        short="CPU",
        absent="" if views else "no round has the CPU time of the server's processes",
    )


def _costs(cell: Cell) -> dict[str, float]:
    """Return µs per request by part and mode, medians of the rounds that count."""
    driver = cell.summary.driver if cell.summary else ""
    found: dict[str, list[float]] = {}
    for each in cell.rounds:
        for part, cost in each.cost.items() if each.driver == driver else ():
            found.setdefault(f"{part}, user", []).append(cost.user_us)
            found.setdefault(f"{part}, kernel", []).append(cost.kernel_us)
    return {kind: median(values) for kind, values in found.items()}


def _figure(value: float | None, verdict: str) -> str:
    return "–" if value is None else marked(number(value), verdict)
