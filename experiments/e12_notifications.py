"""E12: what edge triggering saves: reports, where one read does not take all that came.

The same load against two loops that differ in the flag alone. Both read a piece of a fixed size.
The level-triggered one reads once for each report, and is reported to again while something is
left. The edge-triggered one reads until EAGAIN, or until a read was not filled, and hears again
when more comes. For requests that one read takes there is nothing to save; for long ones there is.
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
"""Requests on each connection, one after the other; all connections at once."""

PIECE: Final = 4096
"""Bytes of a read."""

PIECES: Final = (0.5, 2, 4, 8, 16)
"""Lengths of requests, in reads."""

SAVED: Final = 0.9
"""Reports of the edge-triggered loop for one of the level-triggered, at most, for long requests:
below it more than a tenth is saved, which chance in the arrivals would not do over 640 requests."""


def measure(_limits: Limits) -> Numbers:
    """Count the reports of both loops, for short and long requests."""
    rows = []
    for pieces in PIECES:
        size = int(pieces * PIECE)
        level, edge = (_serve(size, edge=edge) for edge in (False, True))
        rows.append({"size": size, "reads": pieces, "level": level, "edge": edge})
    return {"requests": CONNECTIONS * ROUNDS, "piece": PIECE, "rows": rows}


def _serve(size: int, *, edge: bool) -> dict[str, Any]:
    """Answer every request with a byte; return what it took, per request."""
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
                raise TimeoutError(f"{answered} requests, then nothing for {PATIENCE:g} s")
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
    """Read once, or until a read is not filled; return bytes and calls."""
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
    """Send a request on every connection, then await all answers; again and again."""
    request = bytes(size)
    for _ in range(ROUNDS):
        for client in clients:
            client.sendall(request)
        for client in clients:
            client.recv(1)


def judge(numbers: Numbers) -> list[Finding]:
    """By the reports for the longest requests."""
    rows = numbers["rows"]
    short, long = rows[0], rows[-1]
    share = long["edge"]["reports"] / long["level"]["reports"]
    key = (
        f"requests of {long['reads']:g} reads: {long['level']['reports']:.2f} reports for each "
        f"level-triggered, {long['edge']['reports']:.2f} edge-triggered"
    )
    scope = (
        f"Requests that one read takes: {short['level']['reports']:.2f} and "
        f"{short['edge']['reports']:.2f}: nothing to save. The calls of recv: "
        f"{long['level']['reads']:.2f} and {long['edge']['reads']:.2f} for the long ones."
    )
    return [Finding("E12", verdict(share <= SAVED), key, scope)]


def figures(numbers: Numbers) -> list[Chart]:
    """Draw reports for each request against its length."""
    rows = numbers["rows"]
    series = {
        f"{name}-triggered": [(row["reads"], row[name]["reports"]) for row in rows]
        for name in ("level", "edge")
    }
    text = (
        f"{numbers['requests']} requests on {CONNECTIONS} connections at once, for each length; "
        f"a read takes {numbers['piece'] >> 10} KiB."
    )
    return [
        drawing.lines("e12-reports", "Reports for a request", text, series,
                      "length of a request, in reads", "reports for each request")
    ]  # fmt: skip


EXPERIMENT = Experiment(
    claims={"E12": "Edge triggering lowers the number of notifications."},
    title="Notifications under load",
    method=f"{CONNECTIONS} clients send requests of different lengths at once to two loops that "
    "differ in EPOLLET alone, and in that the edge-triggered one reads until nothing is left. "
    "What epoll_wait returns is counted.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=40, cpu_seconds=30),
)
