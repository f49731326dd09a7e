"""The verdicts and the figures of E3, E4 and E15: slopes, shares, and the order of arrivals."""

from collections.abc import Sequence
from math import exp, log
from typing import Any, Final

from chainlab.pages.charts import Chart
from experiments import drawing, timing
from experiments.frame import Finding, Numbers, verdict
from experiments.symbols import with_fits

EXPONENT: Final = 0.5
"""Of the set's size in the cost of a call, where the set outweighs the call itself: halfway between
one that does not know the set (0) and one that asks everybody in it (1)."""

OUTWEIGHS: Final = 100
"""Connections from which on that is so: to ask one takes tens of ns, an empty call 1 or 2 µs."""

FLAT: Final = 0.1
"""Of the cost of asking one descriptor: what a watched one may add at most, to say that it is not
asked. Asked and not asked differ by more than an order of magnitude, or nobody would care."""

Row = dict[str, Any]


def judge(numbers: Numbers) -> list[Finding]:
    """E3 and E4 by exponents, E4 and E15 by slopes against each other."""
    rows = numbers["rows"]
    return [_scans(rows), _flat(rows, numbers["epoll_ctl"]), _lists(numbers)]


def points(rows: Sequence[Row], poller: str) -> list[tuple[float, float]]:
    """Return (idle connections, µs of a call), where the poller could be asked."""
    return [(row["idle"], row[poller]) for row in rows if row[poller] is not None]


def slope(found: Sequence[tuple[float, float]]) -> float:
    """Return ns for each one more."""
    return timing.fit(found)[0] * 1000


def power(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return exponent and factor of the power of the size that the cost follows (log-log fit)."""
    outweighing = [(log(size), log(cost)) for size, cost in found if size >= OUTWEIGHS]
    exponent, intercept = timing.fit(outweighing)
    return exponent, exp(intercept)


def _scans(rows: Sequence[Row]) -> Finding:
    said = []
    for poller in ("select", "poll"):
        found = points(rows, poller)
        said.append(
            f"{poller} {slope(found):,.0f} ns more for each idle connection (the cost follows "
            f"their number to the power of {power(found)[0]:.2f})"
        )
    holds = all(power(points(rows, poller))[0] >= EXPONENT for poller in ("select", "poll"))
    last = rows[-1]
    key = f"{', '.join(said)}; {last['poll']:,.0f} µs of poll to find one among {last['idle']:,}"
    return Finding("E3", verdict(holds), key)


def _flat(rows: Sequence[Row], control: dict[str, float]) -> Finding:
    epoll, poll = (slope(points(rows, poller)) for poller in ("epoll", "poll"))
    last = rows[-1]
    key = (
        f"epoll {_few(epoll)} ns more for each idle connection, poll {poll:,.0f}; at "
        f"{last['idle']:,}: {last['epoll']:.1f} µs against {last['poll']:,.0f}"
    )
    spared = last["poll"] - last["epoll"]
    scope = (
        f"Telling the kernel costs a call of epoll_ctl for each connection: {last['add']:.1f} µs "
        f"to add one at {last['idle']:,}, {control['modify']:.1f} to change, "
        f"{control['delete']:.1f} to remove."
    )
    if spared > 0:
        calls = last["add"] * last["idle"] / spared
        scope += f" After {calls:.0f} waits the adding is paid for."
    flat = power(points(rows, "epoll"))[0] < EXPONENT and epoll <= FLAT * poll
    return Finding("E4", verdict(flat), key, scope)


def _lists(numbers: Numbers) -> Finding:
    rows, order = numbers["rows"], numbers["order"]
    watched = slope(points(rows, "epoll"))
    ready = slope([(count, cost) for count, cost in numbers["by_ready"]])
    by_arrival = order["epoll"] == order["arrived"] and order["poll"] == sorted(order["arrived"])
    exact = all(
        row["handed_out"] == 1 and row["watched"] == row["idle"] + 1 for row in rows
    )  # fmt: skip
    last = rows[-1]
    key = (
        f"{last['watched']:,} watched, {last['handed_out']} on the list; one more watched costs "
        f"epoll_wait {_few(watched)} ns, one more ready {ready:.0f}; data came in the order "
        f"{_listed(order['arrived'])}, epoll said {_listed(order['epoll'])}, poll "
        f"{_listed(order['poll'])}"
    )
    return Finding("E15", verdict(by_arrival and exact and watched <= FLAT * ready), key)


def _listed(places: Sequence[int]) -> str:
    return " ".join(str(place) for place in places)


def figures(numbers: Numbers) -> list[Chart]:
    """Draw the three curves with their fitted lines, and epoll's two costs."""
    rows = numbers["rows"]
    by_poller = {poller: points(rows, poller) for poller in ("select", "poll", "epoll")}
    series = {
        f"{poller}: {_few(slope(found))} ns for each": found for poller, found in by_poller.items()
    }
    fits = {name: _fitted(found) for name, found in series.items()}
    powers = ", ".join(f"{name} {power(found)[0]:.2f}" for name, found in by_poller.items())
    text = (
        "One ready connection among idle ones: µs for one call, both axes logarithmic. Dashed: the "
        f"power of their number that the cost follows, by least squares: {powers}. select ends "
        "where its set does."
    )
    across, up = "idle connections watched", "µs for a call"
    curves = drawing.lines(
        "e3-cost", "What an idle connection costs", text, series, across, up,
        log_x=True, log_y=True,
    )  # fmt: skip
    by_ready = [(float(count), cost) for count, cost in numbers["by_ready"]]
    ready = {
        "more watched, 1 ready": by_poller["epoll"],
        f"more ready, {numbers['beside']} idle": by_ready,
    }
    follows = drawing.lines(
        "e3-follows", "epoll follows the ready ones", "epoll_wait with a growing set, and with a "
        "growing list of ready ones. Both axes are logarithmic.", ready, "connections", up,
        log_x=True, log_y=True,
    )  # fmt: skip
    return [with_fits(curves, fits), follows]


def _fitted(found: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    exponent, factor = power(found)
    return [(size, factor * size**exponent) for size, _ in found if size >= OUTWEIGHS]


def _few(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{round(value, 2) + 0.0:.2f}"  # no -0.00
