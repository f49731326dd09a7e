"""M4: multiplexing is not faster for one connection; it wins with many.

For one connection: the time from question to answer, and the system calls, of which multiplexing
makes one more. For many: what a core can answer in a second, by the CPU time that all processes of
a server take; the blocking server has a process for each connection. CPU time, not the clock,
because the one client here is slower than any of the servers.
"""

import statistics
import time
from collections.abc import Sequence
from typing import Final

from chainlab.pages.charts import Chart
from experiments.drawing import bars, lines
from experiments.echo import KINDS, Counts, ask, serving
from experiments.frame import NOT_MEASURED, Experiment, Finding, Limits, Numbers, verdict

CONNECTIONS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
REQUESTS: Final = 2_048
"""In all, for each server and number of connections."""

ROUNDS: Final = 3

NOT_FASTER: Final = 0.9
"""A multiplexer's latency for one of the blocking server's, at least: two runs of the same differ
by a tenth."""

STEADY: Final = 1.2
"""The slowest round's latency for the fastest one's of the same server, at most, to call one server
faster than another: beyond twice what two runs of the same differ by, the machine was busy."""

MULTIPLEXERS: Final = ("select", "poll", "epoll")


def measure(_limits: Limits) -> Numbers:
    """Ask each server, with each number of connections, in turns."""
    runs: dict[str, dict[int, list[Numbers]]] = {
        kind: {count: [] for count in CONNECTIONS} for kind in KINDS
    }
    for _ in range(ROUNDS):
        for count in CONNECTIONS:
            for kind, found in runs.items():
                found[count].append(_run(kind, count))
    return {
        kind: {str(count): _together(each) for count, each in found.items()}
        for kind, found in runs.items()
    }


def _run(kind: str, connections: int) -> Numbers:
    rounds = REQUESTS // connections
    with serving(kind, connections) as server:
        clients = server.connect(connections)
        begin = time.perf_counter_ns()
        ask(clients, rounds)
        took = time.perf_counter_ns() - begin
        for client in clients:
            client.close()
        counts: Counts = server.counts()
    return {
        "round_us": took / rounds / 1e3,
        "calls": counts.calls / counts.requests,
        "cpu_us": counts.cpu_ns / counts.requests / 1e3,
        "processes": counts.processes,
    }


def _together(runs: list[Numbers]) -> Numbers:
    """Medians of the rounds; of the clock's time the least, for others only ever add to it."""
    found = {name: statistics.median(each[name] for each in runs) for name in runs[0]}
    latencies = [each["round_us"] for each in runs]
    found["round_us"], found["spread"] = min(latencies), max(latencies) / min(latencies)
    return {name: round(value, 3) for name, value in found.items()}


def judge(numbers: Numbers) -> list[Finding]:
    """One connection by latency and calls, many by what a core can answer."""
    return [_one(numbers), _many(numbers)]


def _one(numbers: Numbers) -> Finding:
    blocking = numbers["blocking"]["1"]
    others = {kind: numbers[kind]["1"] for kind in MULTIPLEXERS}
    best = min(others, key=lambda kind: float(others[kind]["round_us"]))
    slower = others[best]["round_us"] >= NOT_FASTER * blocking["round_us"]
    more = min(each["calls"] for each in others.values()) > blocking["calls"]
    key = (
        f"{blocking['round_us']:.0f} µs and {blocking['calls']:.1f} system calls for a request by "
        f"blocking calls; {others[best]['round_us']:.0f} µs and {others[best]['calls']:.1f} calls "
        f"by the fastest multiplexer, {best}"
    )
    scope = "The notes count two calls instead of one; sending the answer is one more for both."
    spread = max(blocking["spread"], others[best]["spread"])
    if more and not slower and spread > STEADY:
        why = f"this machine was so busy that rounds differed {spread:.1f} times; try again"
        return Finding("M4", NOT_MEASURED, f"{key}; {why}", scope, "one connection")
    return Finding("M4", verdict(slower and more), key, scope, "one connection")


def _many(numbers: Numbers) -> Finding:
    most = str(CONNECTIONS[-1])
    blocking, epoll = numbers["blocking"], numbers["epoll"]
    cheaper = [
        count
        for count in CONNECTIONS
        if epoll[str(count)]["cpu_us"] < blocking[str(count)]["cpu_us"]
    ]
    wins = CONNECTIONS[-1] in cheaper
    crossing = next(
        (
            count
            for count in CONNECTIONS
            if set(CONNECTIONS[CONNECTIONS.index(count) :]) <= set(cheaper)
        ),
        0,
    )
    since = f"from {crossing} connection{'' if crossing == 1 else 's'} on" if wins else "never"
    key = (
        f"with {most} connections a request takes {epoll[most]['cpu_us']:.1f} µs of CPU by epoll "
        f"in one process, {blocking[most]['cpu_us']:.1f} µs by blocking calls in "
        f"{blocking[most]['processes']:.0f} processes; epoll is cheaper {since}"
    )
    scope = (
        "All connections are busy, so that one epoll_wait finds many; where few are, see E3 and "
        "E4. Blocking calls use all cores, one process uses one."
    )
    return Finding("M4", verdict(wins), key, scope, "many connections")


def figures(numbers: Numbers) -> Sequence[Chart]:
    """What a core answers against connections; latency with one."""
    rate = {
        f"{kind}, a process for each" if kind == "blocking" else kind: [
            (int(count), 1e6 / each["cpu_us"]) for count, each in found.items()
        ]
        for kind, found in numbers.items()
    }
    calls = {kind: found["1"]["calls"] for kind, found in numbers.items()}
    latency = {kind: found["1"]["round_us"] for kind, found in numbers.items()}
    text = "Requests for a second of the server's CPU time, all its processes together."
    return [
        lines("m4-rate", "What a core can answer", text, rate, "connections, all busy",
              "requests per CPU second", log_x=True),
        bars("m4-latency", "One connection: latency", "From question to answer, client included.",
             latency, "µs"),
        bars("m4-calls", "One connection: system calls", "Of the server, for a request.", calls,
             "calls per request"),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    claims={
        "M4": "Multiplexing is not faster for one connection, for it makes two system calls "
        "instead of one; it wins with many connections."
    },
    title="One connection or many",
    method=f"Small servers answer {REQUESTS:,} requests on 1 to {CONNECTIONS[-1]} connections; "
    "they count their calls, and their CPU time (process_time).",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=90, cpu_seconds=60),
)
