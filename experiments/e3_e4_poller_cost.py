"""E3, E4, E15: what one more idle connection adds to a call of select, poll and epoll.

select and poll get the whole set at each call and check every descriptor in it. epoll registers
each connection once, with a call of epoll_ctl(2). Then a kernel callback puts a connection that
gets data on a ready list, and epoll_wait(2) returns that list, so its cost follows the list's
length. The list's order also shows that arrivals fill it, not a scan: connections come in the order
in which they became ready, whatever their place in the set.
"""

import os
import select
import socket
from pathlib import Path
from typing import Any, Final

from experiments import pollers
from experiments.frame import Experiment, Limits, NotHere, Numbers
from experiments.libc import FD_SETSIZE
from experiments.poller_verdicts import figures, judge
from experiments.sockets import Idle, await_bytes, idle, pair, pairs

SIZES: Final = (10, 30, 100, 300, 900, 3000, 10_000, 19_000)
"""Numbers of idle connections; sizes beyond the machine's descriptors are left out."""

READY: Final = (1, 10, 100, 1000)
"""Numbers of connections with data, while BESIDE others are idle."""

BESIDE: Final = 300
SPARE: Final = 120
"""Descriptors for everything but the idle connections."""

ARRIVALS: Final = (5, 2, 7, 0, 3, 6, 1, 4)
"""The order in which eight connections are sent a byte."""


def measure(limits: Limits) -> Numbers:
    """Measure all three at each size; then epoll alone with more and more ready connections."""
    sizes = [size for size in SIZES if size <= limits.descriptors - SPARE]
    if not sizes or sizes[-1] < BESIDE:
        raise NotHere(
            f"{limits.descriptors} descriptors are too few for {BESIDE} connections",
            f"raise the hard limit: ulimit -Hn {SIZES[-1] + SPARE}",
        )
    with idle(sizes[-1]) as silent, pair() as (server, client), select.epoll() as epoll:
        client.sendall(b"x")
        await_bytes(server, 1)
        rows: list[dict[str, Any]] = []
        by_ready: list[list[float]] = []
        for size in sizes:
            rows.append(_at(size, silent, server, epoll))
            if size == BESIDE:
                room = limits.descriptors - SPARE - size
                by_ready = _by_ready(server, epoll, [count for count in READY if count <= room])
        modified = pollers.each(lambda each: epoll.modify(each, select.EPOLLIN), silent.connections)
        deleted = pollers.each(epoll.unregister, silent.connections)
    return {
        "rows": rows,
        "by_ready": by_ready,
        "beside": BESIDE,
        "epoll_ctl": {"modify": modified, "delete": deleted},
        "order": _order(),
    }


def _at(size: int, silent: Idle, server: socket.socket, epoll: select.epoll) -> dict[str, Any]:
    """Measure one size: µs per call of each poller, and per connection added to the epoll."""
    fresh = silent.accept(size)
    adding = pollers.each(lambda each: epoll.register(each, select.EPOLLIN), fresh)
    ready = os.dup(server.fileno())  # gets the lowest free number, which is above all idle ones
    fds = [*(each.fileno() for each in silent.connections), ready]
    epoll.register(ready, select.EPOLLIN)
    try:
        return {
            "idle": size,
            "select": pollers.cost(pollers.select_call(fds), 1) if max(fds) < FD_SETSIZE else None,
            "poll": pollers.cost(pollers.poll_call(fds), 1),
            "epoll": pollers.cost(pollers.epoll_call(epoll), 1),
            "add": adding,
            "watched": _watched(epoll),
            "handed_out": pollers.epoll_call(epoll)(),
        }
    finally:
        epoll.unregister(ready)
        os.close(ready)


def _watched(epoll: select.epoll) -> int:
    """Return how many descriptors this epoll watches, according to the kernel."""
    text = Path(f"/proc/self/fdinfo/{epoll.fileno()}").read_text()
    return sum(line.startswith("tfd:") for line in text.splitlines())


def _by_ready(server: socket.socket, epoll: select.epoll, counts: list[int]) -> list[list[float]]:
    """Return µs of epoll_wait with more and more descriptors of a connection with data."""
    found: list[list[float]] = []
    ready: list[int] = []
    for count in counts:
        while len(ready) < count:
            ready.append(os.dup(server.fileno()))
            epoll.register(ready[-1], select.EPOLLIN)
        found.append([count, pollers.cost(pollers.epoll_call(epoll), count)])
    for fd in ready:
        epoll.unregister(fd)
        os.close(fd)
    return found


def _order() -> dict[str, list[int]]:
    """Return the orders in which connections got data, and in which epoll and poll report them."""
    with pairs(len(ARRIVALS)) as made, select.epoll() as epoll:
        poll = select.poll()
        places = {server.fileno(): place for place, (server, _) in enumerate(made)}
        for fd in places:
            epoll.register(fd, select.EPOLLIN)
            poll.register(fd, select.POLLIN)
        for place in ARRIVALS:
            made[place][1].sendall(b"x")
            await_bytes(made[place][0], 1)
        return {
            "arrived": list(ARRIVALS),
            "epoll": [places[fd] for fd, _ in epoll.poll(0)],
            "poll": [places[fd] for fd, _ in poll.poll(0)],
        }


EXPERIMENT = Experiment(
    claims={
        "E3": "select copies and scans every descriptor at each call; poll does so too, without "
        "select's limit.",
        "E4": "epoll keeps the set in the kernel; its cost follows the ready descriptors, not the "
        "watched ones.",
        "E15": "A kernel callback puts ready descriptors on a list; epoll scans nothing.",
    },
    title="What an idle connection costs",
    method="Up to 19,000 idle TCP connections and one with data are watched. select (up to "
    "descriptor 1023), poll and epoll are called through ctypes, which adds about a microsecond "
    "per call; lines are fitted by least squares. Then more and more connections are ready beside "
    f"{BESIDE} idle ones. Last, eight connections get data in mixed order.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=60, cpu_seconds=50, descriptors=20_000),
)
