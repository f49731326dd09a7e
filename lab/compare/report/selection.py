"""The order of architectures in the page, and which have a colour when it opens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from lab.compare.drive.levels import level_of
from lab.compare.report.formatting import place
from lab.compare.report.legend import SLOTS
from lab.compare.result import Cell, Result


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """An architecture in the page's legend; slot -1 is grey."""

    name: str
    title: str
    slot: int


def routes_of(result: Result) -> list[str]:
    """Return the routes in the order of measurement."""
    return list(dict.fromkeys(cell.route for cell in result.cells))


def order(result: Result) -> list[str]:
    """Return the measured architectures: the best of each standing, then the second best, ...

    Standings with more connections come first, because architectures differ most there. They are
    those by throughput or, without a closed loop, by p99.
    """
    standings = [each for each in result.standings if each.metric == "throughput"]
    standings = standings or [each for each in result.standings if each.metric == "p99"]
    best = [
        [name for each in standing.places for name in each.architectures]
        for standing in sorted(standings, key=lambda each: -each.connections)
    ]
    depth = max(map(len, best), default=0)
    ranked = [names[at] for at in range(depth) for names in best if at < len(names)]
    measured = {cell.architecture for cell in result.cells if cell.summary}
    declared = [each.name for each in result.architectures]
    return [name for name in dict.fromkeys([*ranked, *declared]) if name in measured]


def legend(result: Result) -> dict[str, list[LegendEntry]]:
    """Return the legend by family. If there are too few slots, each family's best come first."""
    names = order(result)
    about = {each.name: each for each in result.architectures}
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(about[name].family, []).append(name)
    depth = max(map(len, families.values()), default=0)
    varied = [each[at] for at in range(depth) for each in families.values() if at < len(each)]
    slots = {name: slot for slot, name in enumerate(varied[:SLOTS])}
    return {
        family: [LegendEntry(name, about[name].title, slots.get(name, -1)) for name in members]
        for family, members in families.items()
    }


def by_place(result: Result) -> list[Cell]:
    """Return the cells by route, mode, architecture, connections and load."""
    name, route = _at(order(result)), _at(routes_of(result))

    def key(cell: Cell) -> tuple[float | str, ...]:
        architecture = name(cell.architecture), cell.architecture
        return route(cell.route), cell.mode, *architecture, cell.connections, *level_of(cell).order

    return sorted(result.cells, key=key)


def by_where(result: Result, cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """Return cells grouped by route, connections and load, with the group's name."""
    name, route = _at(order(result)), _at(routes_of(result))

    def key(cell: Cell) -> tuple[float | str, ...]:
        where = route(cell.route), cell.mode, cell.connections, *level_of(cell).order
        return *where, name(cell.architecture)

    return [(where, list(group)) for where, group in groupby(sorted(cells, key=key), place)]


def _at(names: Sequence[str]) -> Callable[[str], int]:
    """Return a function from a name to its position; unknown names come last."""
    places = {name: at for at, name in enumerate(names)}
    return lambda name: places.get(name, len(places))
