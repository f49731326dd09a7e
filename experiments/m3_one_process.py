"""M3: multiplexing: one process serves many connections, and blocks in the multiplexer.

A server with one thread takes many connections and answers on each; then all fall silent, and /proc
is looked at: in what state it is, what CPU it uses, and in which function of the kernel it sleeps.
"""

import time
from typing import Final

from experiments import proc
from experiments.echo import ask, serving
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict

CONNECTIONS: Final = 400
ROUNDS: Final = 5
SILENCE: Final = 0.5
"""Seconds: 50 ticks of CPU time."""

MULTIPLEXERS: Final = ("select", "poll", "epoll")
NAMES: Final = ("poll", "select")
"""What the kernel's functions have in their names in which these calls sleep: ep_poll, do_poll,
poll_schedule_timeout, do_select, do_epoll_wait."""


def measure(_limits: Limits) -> Numbers:
    """Serve many with each multiplexer."""
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
    """Wait until it sleeps: its last answer has come, but it may not be back in its call."""
    deadline = time.monotonic() + 5
    while proc.task(pid).state != "S" and time.monotonic() < deadline:
        time.sleep(0.01)


def judge(numbers: Numbers) -> list[Finding]:
    """One process, one thread, all served; asleep in the multiplexer, for nothing."""
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
        f"{numbers['connections']} connections; silent, it sleeps ({where}) and uses {cpu:.0f} ms "
        "of CPU"
    )
    unknown = any(not each["where"] for each in servers.values())
    scope = "The kernel does not say here in which function it sleeps." if unknown else ""
    return [Finding("M3", verdict(served and asleep), key, scope)]


EXPERIMENT = Experiment(
    claims={
        "M3": "Multiplexing: one process handles many connections; it blocks in the multiplexer."
    },
    title="One process for many",
    method=f"A server of one thread answers on {CONNECTIONS} connections, by select, poll and "
    "epoll; then all are silent, and /proc tells how it waits.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=60, cpu_seconds=30),
)
