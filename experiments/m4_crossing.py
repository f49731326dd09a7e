"""M4: multiplexing is not faster for one connection; it wins with many.

For one connection: the time from request to answer, and the system calls per request, of which
multiplexing needs one more. For many: the requests that a core can answer per second, from the CPU
time of all the server's processes; the blocking server has one process per connection. CPU time and
not wall time, because the single client is slower than any of the servers.
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
"""Total requests per server and number of connections."""

ROUNDS: Final = 3

NOT_FASTER: Final = 0.9
"""Least ratio of a multiplexer's latency to the blocking server's: two runs of the same server
differ by a tenth."""

STEADY: Final = 1.2
"""Greatest ratio of a server's slowest round to its fastest at which another may be called faster.
Beyond it, twice the usual difference between two runs, the machine was busy."""

MULTIPLEXERS: Final = ("select", "poll", "epoll")


def measure(_limits: Limits) -> Numbers:
    """Measure each server with each number of connections, in turn."""
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
    """Return medians of the rounds, but the least latency, as other processes only add to it."""
    found = {name: statistics.median(each[name] for each in runs) for name in runs[0]}
    latencies = [each["round_us"] for each in runs]
    found["round_us"], found["spread"] = min(latencies), max(latencies) / min(latencies)
    return {name: round(value, 3) for name, value in found.items()}


def judge(numbers: Numbers) -> list[Finding]:
    """Judge one connection by latency and calls, many by requests per CPU second."""
    return [_one(numbers), _many(numbers)]


def _one(numbers: Numbers) -> Finding:
    blocking = numbers["blocking"]["1"]
    others = {kind: numbers[kind]["1"] for kind in MULTIPLEXERS}
    best = min(others, key=lambda kind: float(others[kind]["round_us"]))
    slower = others[best]["round_us"] >= NOT_FASTER * blocking["round_us"]
    more = min(each["calls"] for each in others.values()) > blocking["calls"]
    key = (
        f"a request takes {blocking['round_us']:.0f} µs and {blocking['calls']:.1f} system calls "
        f"with blocking I/O; {others[best]['round_us']:.0f} µs and {others[best]['calls']:.1f} "
        f"calls with the fastest multiplexer, {best}"
    )
    scope = "The notes count two calls instead of one; both send the answer with one more call."
    spread = max(blocking["spread"], others[best]["spread"])
    if more and not slower and spread > STEADY:
        why = f"this machine is too busy: rounds differed by a factor of {spread:.1f}; try again"
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
        f"with {most} connections a request takes {epoll[most]['cpu_us']:.1f} µs of CPU with "
        f"epoll in one process, {blocking[most]['cpu_us']:.1f} µs with blocking I/O in "
        f"{blocking[most]['processes']:.0f} processes; epoll is cheaper {since}"
    )
    scope = (
        "All connections are busy, so one epoll_wait returns many; for few busy ones see E3 and "
        "E4. The blocking processes use all cores, the single process one."
    )
    return Finding("M4", verdict(wins), key, scope, "many connections")


def figures(numbers: Numbers) -> Sequence[Chart]:
    """Draw requests per CPU second against connections, and latency and calls with one."""
    rate = {
        f"{kind}, a process each" if kind == "blocking" else kind: [
            (int(count), 1e6 / each["cpu_us"]) for count, each in found.items()
        ]
        for kind, found in numbers.items()
    }
    calls = {kind: found["1"]["calls"] for kind, found in numbers.items()}
    latency = {kind: found["1"]["round_us"] for kind, found in numbers.items()}
    text = "Requests per second of CPU time, summed over all processes of the server."
    return [
        lines("m4-rate", "What a core can answer", text, rate, "connections, all busy",
              "requests per CPU second", log_x=True),
        bars("m4-latency", "One connection: latency", "From request to answer, client included.",
             latency, "µs"),
        bars("m4-calls", "One connection: system calls", "The server's calls per request.", calls,
             "calls per request"),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    claims={
        "M4": "Multiplexing is not faster for one connection, because it makes two system calls "
        "instead of one; it wins with many connections."
    },
    title="One connection or many",
    method=f"Small servers answer {REQUESTS:,} requests on 1 to {CONNECTIONS[-1]} connections and "
    "count their system calls and CPU time (process_time).",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=90, cpu_seconds=60),
)
