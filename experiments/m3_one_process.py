"""M3: multiplexing: one process serves many connections, and blocks in the multiplexer.

A single-threaded server answers on many connections. Then all clients stay silent, and /proc shows
the server's state, its CPU time, and the kernel function in which it sleeps.
"""

import time
from typing import Final

from experiments import proc
from experiments.echo import ask, serving
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict

CONNECTIONS: Final = 400
ROUNDS: Final = 5
SILENCE: Final = 0.5
"""Seconds of silence: 50 ticks of CPU time."""

MULTIPLEXERS: Final = ("select", "poll", "epoll")
NAMES: Final = ("poll", "select")
"""Parts of the names of the kernel functions in which these calls sleep: ep_poll, do_poll,
poll_schedule_timeout, do_select, do_epoll_wait."""


def measure(_limits: Limits) -> Numbers:
    """Serve many connections with each multiplexer."""
    return {"connections": CONNECTIONS, "servers": {kind: _serve(kind) for kind in MULTIPLEXERS}}


def _serve(kind: str) -> Numbers:
    with serving(kind, CONNECTIONS) as server:
        clients = server.connect(CONNECTIONS)
        ask(clients, ROUNDS)
        _settle(server.pid)
        before = proc.task(server.pid)
        time.sleep(SILENCE)
        after = proc.task(server.pid)
        found = {
            "threads": proc.count(server.pid, "task"),
            "descriptors": proc.count(server.pid, "fd"),
            "state": after.state,
            "cpu_seconds": round(after.cpu_seconds - before.cpu_seconds, 3),
            "where": proc.where(server.pid),
        }
        for client in clients:
            client.close()
        counts = server.counts()
        return {**found, "processes": counts.processes, "requests": counts.requests}


def _settle(pid: int) -> None:
    """Wait until the server sleeps: after its last answer it may still be on its way back."""
    deadline = time.monotonic() + 5
    while proc.task(pid).state != "S" and time.monotonic() < deadline:
        time.sleep(0.01)


def judge(numbers: Numbers) -> list[Finding]:
    """One process with one thread must serve all, then sleep in the multiplexer without CPU."""
    servers = numbers["servers"]
    served = all(
        each["processes"] == each["threads"] == 1
        and each["requests"] == numbers["connections"] * ROUNDS
        for each in servers.values()
    )
    asleep = all(
        each["state"] == "S"
        and each["cpu_seconds"] == 0
        and (not each["where"] or any(name in each["where"] for name in NAMES))
        for each in servers.values()
    )
    where = ", ".join(f"{kind} in {each['where'] or '?'}" for kind, each in servers.items())
    cpu = max(each["cpu_seconds"] for each in servers.values()) * 1000
    key = (
        f"one process with one thread answered {numbers['connections'] * ROUNDS:,} requests on "
        f"{numbers['connections']} connections; while they are silent it sleeps ({where}) and "
        f"uses {cpu:.0f} ms of CPU"
    )
    unknown = any(not each["where"] for each in servers.values())
    scope = "This kernel does not report in which function a process sleeps." if unknown else ""
    return [Finding("M3", verdict(served and asleep), key, scope)]


EXPERIMENT = Experiment(
    claims={
        "M3": "Multiplexing: one process handles many connections; it blocks in the multiplexer."
    },
    title="One process, many connections",
    method=f"A server with one thread answers on {CONNECTIONS} connections, with select, poll and "
    "epoll; then all stay silent, and /proc shows how the server waits.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=60, cpu_seconds=30),
)
