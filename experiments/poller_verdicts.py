"""The verdicts and charts of E3, E4 and E15: slopes, exponents, and the order of arrivals."""

from collections.abc import Sequence
from math import exp, log
from typing import Any, Final

from chainlab.pages.charts import Chart
from experiments import drawing, timing
from experiments.frame import Finding, Numbers, verdict
from experiments.symbols import with_fits

EXPONENT: Final = 0.5
"""Threshold for the exponent in cost ~ size ** exponent, for sizes from OUTWEIGHS on: halfway
between a call that ignores the set's size (0) and one that checks every member (1)."""

OUTWEIGHS: Final = 100
"""Connections from which the set costs more than the call itself: checking a descriptor takes tens
of ns, an empty call 1 or 2 µs."""

FLAT: Final = 0.1
"""The most that a watched descriptor may add to a call, as a share of the cost of checking one, to
count as "not checked". Less than an order of magnitude would not matter in practice."""

Row = dict[str, Any]


def judge(numbers: Numbers) -> list[Finding]:
    """Judge E3 by exponents, E4 by exponent and slope, E15 by slopes and order."""
    rows = numbers["rows"]
    return [_scans(rows), _flat(rows, numbers["epoll_ctl"]), _lists(numbers)]


def points(rows: Sequence[Row], poller: str) -> list[tuple[float, float]]:
    """Return (idle connections, µs per call) for the sizes that the poller supports."""
    return [(row["idle"], row[poller]) for row in rows if row[poller] is not None]


def slope(found: Sequence[tuple[float, float]]) -> float:
    """Return the ns that each additional connection adds."""
    return timing.fit(found)[0] * 1000


def power(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Fit cost = factor * size ** exponent (log-log); return exponent and factor."""
    outweighing = [(log(size), log(cost)) for size, cost in found if size >= OUTWEIGHS]
    exponent, intercept = timing.fit(outweighing)
    return exponent, exp(intercept)


def _scans(rows: Sequence[Row]) -> Finding:
    parts = []
    for poller in ("select", "poll"):
        found = points(rows, poller)
        parts.append(
            f"{poller} costs {slope(found):,.0f} ns more per idle connection (cost grows as "
            f"n^{power(found)[0]:.2f})"
        )
    holds = all(power(points(rows, poller))[0] >= EXPONENT for poller in ("select", "poll"))
    last = rows[-1]
    key = (
        f"{', '.join(parts)}; poll takes {last['poll']:,.0f} µs to find one among {last['idle']:,}"
    )
    return Finding("E3", verdict(holds), key)


def _flat(rows: Sequence[Row], control: dict[str, float]) -> Finding:
    epoll, poll = (slope(points(rows, poller)) for poller in ("epoll", "poll"))
    last = rows[-1]
    key = (
        f"each idle connection adds {_few(epoll)} ns to epoll, {poll:,.0f} ns to poll; with "
        f"{last['idle']:,}, a call takes {last['epoll']:.1f} µs and {last['poll']:,.0f} µs"
    )
    saved = last["poll"] - last["epoll"]
    scope = (
        f"Each connection costs epoll_ctl calls: {last['add']:.1f} µs to add one at "
        f"{last['idle']:,}, {control['modify']:.1f} µs to change, {control['delete']:.1f} µs to "
        "remove."
    )
    if saved > 0:
        calls = last["add"] * last["idle"] / saved
        scope += f" The adding pays off after {calls:.0f} waits."
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
        f"{last['watched']:,} watched, {last['handed_out']} on the ready list; each watched "
        f"descriptor adds {_few(watched)} ns to epoll_wait, each ready one {ready:.0f} ns; data "
        f"arrived in the order {_listed(order['arrived'])}, epoll returned "
        f"{_listed(order['epoll'])}, poll {_listed(order['poll'])}"
    )
    return Finding("E15", verdict(by_arrival and exact and watched <= FLAT * ready), key)


def _listed(places: Sequence[int]) -> str:
    return " ".join(str(place) for place in places)


def figures(numbers: Numbers) -> list[Chart]:
    """Draw the cost curves with fitted lines, and epoll's cost by watched and by ready."""
    rows = numbers["rows"]
    by_poller = {poller: points(rows, poller) for poller in ("select", "poll", "epoll")}
    series = {
        f"{poller}: {_few(slope(found))} ns each": found for poller, found in by_poller.items()
    }
    fits = {name: _fitted(found) for name, found in series.items()}
    powers = ", ".join(f"{name} {power(found)[0]:.2f}" for name, found in by_poller.items())
    text = (
        "µs per call with one ready connection among idle ones; both axes are logarithmic. Dashed: "
        f"least-squares fits of cost = c·n^p, with p: {powers}. select stops "
        "at the size of its set."
    )
    across, up = "idle connections watched", "µs per call"
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
        "e3-follows", "epoll's cost follows the ready connections", "epoll_wait with more and more "
        "watched connections, and with more and more ready ones. Both axes are logarithmic.",
        ready, "connections", up, log_x=True, log_y=True,
    )  # fmt: skip
    return [with_fits(curves, fits), follows]


def _fitted(found: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    exponent, factor = power(found)
    return [(size, factor * size**exponent) for size, _ in found if size >= OUTWEIGHS]


def _few(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{round(value, 2) + 0.0:.2f}"  # no -0.00
