"""Finds pairs of architectures whose order differs between two routes, beyond the noise."""

from itertools import combinations

from chainlab.pages.formatting import plural
from lab.compare.report.selection import routes_of
from lab.compare.result import Result


def turned(result: Result, route: str) -> list[str]:
    """Compare a route's order with the first route's, at the most connections that both have.

    Only pairs with different places on both routes count.
    """
    first = routes_of(result)[0]
    here, there = (_by_connections(result, name) for name in (route, first))
    if route == first or not (shared := here.keys() & there.keys()):
        return []
    connections = max(shared)
    ours, theirs = here[connections], there[connections]
    pairs = [
        (one, other)
        for one, other in combinations(sorted(ours.keys() & theirs.keys()), 2)
        if ours[one] != ours[other] and theirs[one] != theirs[other]
    ]
    if not pairs:
        return []
    inverted = [
        pair if theirs[pair[0]] < theirs[pair[1]] else pair[::-1]
        for pair in pairs
        if (ours[pair[0]] < ours[pair[1]]) != (theirs[pair[0]] < theirs[pair[1]])
    ]
    where = f"On {route}, at {plural(connections, 'connection')},"
    of_pairs = f"of {plural(len(pairs), 'pair')} that can be told apart"
    if not inverted:
        return [f"{where} none {of_pairs} has a different order than on {first}."]
    have = "has" if len(inverted) == 1 else "have"
    start = f"{where} {len(inverted)} {of_pairs} {have} a different order than on {first}"
    ahead, behind = max(
        inverted,
        key=lambda pair: (theirs[pair[1]] - theirs[pair[0]]) + (ours[pair[0]] - ours[pair[1]]),
    )
    return [f"{start}: for example, {ahead} is ahead of {behind} there and behind it here."]


def _by_connections(result: Result, route: str) -> dict[int, dict[str, int]]:
    """Return the places in throughput, by connections and name."""
    return {
        each.connections: {name: at.place for at in each.places for name in at.architectures}
        for each in result.standings
        if (each.route, each.metric) == (route, "throughput")
    }
