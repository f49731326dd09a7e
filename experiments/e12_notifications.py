"""E12: edge triggering saves reports when one read does not take all the data.

The same load runs against two loops that read in pieces of the same size. The level-triggered loop
reads once per report, and gets further reports while data is left. The edge-triggered loop reads
until EAGAIN or a short read, and gets the next report when more arrives. It saves nothing for
requests that fit one read, but reports for longer ones.
"""

import select
import socket
import threading
from collections.abc import Sequence
from typing import Any, Final

from chainlab.pages.charts import Chart
from experiments import drawing
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.sockets import PATIENCE, pairs

CONNECTIONS: Final = 16
ROUNDS: Final = 40
"""Requests per connection, one after the other; all connections at once."""

PIECE: Final = 4096
"""Bytes per read."""

PIECES: Final = (0.5, 2, 4, 8, 16)
"""Request lengths, in reads."""

SAVED: Final = 0.9
"""Greatest ratio of edge-triggered to level-triggered reports for long requests: a saving of more
than a tenth, which over 640 requests is no accident of the arrivals."""


def measure(_limits: Limits) -> Numbers:
    """Count the reports of both loops, for short and long requests."""
    rows = []
    for pieces in PIECES:
        size = int(pieces * PIECE)
        level, edge = (_serve(size, edge=edge) for edge in (False, True))
        rows.append({"size": size, "reads": pieces, "level": level, "edge": edge})
    return {"requests": CONNECTIONS * ROUNDS, "piece": PIECE, "rows": rows}


def _serve(size: int, *, edge: bool) -> dict[str, Any]:
    """Answer every request with a byte; return reports, reads and waits per request."""
    with pairs(CONNECTIONS) as made, select.epoll() as epoll:
        servers = {server.fileno(): server for server, _ in made}
        got = dict.fromkeys(servers, 0)
        for fd, server in servers.items():
            server.setblocking(False)
            epoll.register(fd, select.EPOLLIN | (select.EPOLLET if edge else 0))
        load = threading.Thread(target=_load, args=[[client for _, client in made], size])
        load.start()
        reports = reads = waits = answered = 0
        while answered < CONNECTIONS * ROUNDS:
            events = epoll.poll(PATIENCE)
            if not events:
                raise TimeoutError(f"after {answered} requests no data for {PATIENCE:g} s")
            waits += 1
            reports += len(events)
            for fd, _ in events:
                count, calls = _take(servers[fd], until_empty=edge)
                reads += calls
                got[fd] += count
                if got[fd] == size:
                    got[fd] = 0
                    answered += 1
                    servers[fd].send(b".")
        load.join()
        requests = CONNECTIONS * ROUNDS
        return {
            "reports": reports / requests,
            "reads": reads / requests,
            "waits": waits / requests,
        }


def _take(server: socket.socket, *, until_empty: bool) -> tuple[int, int]:
    """Read once, or until a short read or EAGAIN; return bytes and calls."""
    total = calls = 0
    while True:
        calls += 1
        try:
            count = len(server.recv(PIECE))
        except BlockingIOError:
            return total, calls
        total += count
        if not until_empty or count < PIECE:
            return total, calls


def _load(clients: Sequence[socket.socket], size: int) -> None:
    """In each round, send a request on every connection, then await all answers."""
    request = bytes(size)
    for _ in range(ROUNDS):
        for client in clients:
            client.sendall(request)
        for client in clients:
            client.recv(1)


def judge(numbers: Numbers) -> list[Finding]:
    """Judge by the reports for the longest requests."""
    rows = numbers["rows"]
    short, long = rows[0], rows[-1]
    share = long["edge"]["reports"] / long["level"]["reports"]
    key = (
        f"a request of {long['reads']:g} reads takes {long['level']['reports']:.2f} reports "
        f"level-triggered, {long['edge']['reports']:.2f} edge-triggered"
    )
    scope = (
        f"A request that fits one read takes {short['level']['reports']:.2f} and "
        f"{short['edge']['reports']:.2f} reports: nothing to save. A long one takes "
        f"{long['level']['reads']:.2f} and {long['edge']['reads']:.2f} calls of recv."
    )
    return [Finding("E12", verdict(share <= SAVED), key, scope)]


def figures(numbers: Numbers) -> list[Chart]:
    """Draw reports per request against its length."""
    rows = numbers["rows"]
    series = {
        f"{name}-triggered": [(row["reads"], row[name]["reports"]) for row in rows]
        for name in ("level", "edge")
    }
    text = (
        f"For each length, {numbers['requests']} requests on {CONNECTIONS} connections at once; "
        f"a read takes {numbers['piece'] >> 10} KiB."
    )
    return [
        drawing.lines("e12-reports", "Reports per request", text, series,
                      "length of a request, in reads", "reports per request")
    ]  # fmt: skip


EXPERIMENT = Experiment(
    claims={"E12": "Edge triggering lowers the number of notifications."},
    title="Notifications under load",
    method=f"{CONNECTIONS} clients at once send requests of different lengths to two loops. One is "
    "level-triggered; the other uses EPOLLET and reads until nothing is left. The events that "
    "epoll_wait returns are counted.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=40, cpu_seconds=30),
)
