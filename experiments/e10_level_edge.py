"""E10: level-triggered reports what is there, edge-triggered what has come.

64 KiB arrive at a connection and are read 1 KiB at a time. After each read the epoll is asked, with
timeout 0. Level-triggered it reports as long as a byte is left. Edge-triggered it reports once; a
reader that goes on until EAGAIN gets everything, one that reads a piece and waits for the next
report waits for ever, though 63 KiB lie ready: until something new comes, which reports again.
"""

import select
from typing import Any, Final

from chainlab.pages.charts import Chart
from experiments import symbols
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.sockets import await_bytes, pair, unread

ARRIVAL: Final = 64 * 1024
STEP: Final = 1024
STALL: Final = 0.3
"""Seconds that the edge-triggered reader is let wait in vain: a report takes microseconds."""

MORE: Final = b"!"
"""What comes at last to the one that waits in vain."""


def measure(_limits: Limits) -> Numbers:
    """One arrival for each of three readers."""
    return {
        "arrival": ARRIVAL,
        "step": STEP,
        "level": _reader(select.EPOLLIN, ask_each_time=True),
        "edge": _reader(select.EPOLLIN | select.EPOLLET, ask_each_time=False),
        "stalled": _stalled(),
    }


def _reader(interest: int, *, ask_each_time: bool) -> dict[str, Any]:
    """Read until nothing is left; asking before each read, or once and then until EAGAIN."""
    with pair() as (server, client), select.epoll() as epoll:
        server.setblocking(False)
        epoll.register(server, interest)
        client.sendall(bytes(ARRIVAL))
        await_bytes(server, ARRIVAL)
        left, reports = [unread(server)], []
        while epoll.poll(0):
            reports.append(len(left) - 1)
            for _ in range(1 if ask_each_time else ARRIVAL):
                try:
                    server.recv(STEP)
                except BlockingIOError:
                    break
                left.append(unread(server))
        return {"left": left, "reports": reports}


def _stalled() -> dict[str, Any]:
    """Edge-triggered: read once, wait for a report of the rest, then let one more byte come."""
    with pair() as (server, client), select.epoll() as epoll:
        server.setblocking(False)
        epoll.register(server, select.EPOLLIN | select.EPOLLET)
        client.sendall(bytes(ARRIVAL))
        await_bytes(server, ARRIVAL)
        first = len(epoll.poll(0))
        server.recv(STEP)
        waited = len(epoll.poll(STALL))
        left = unread(server)
        client.sendall(MORE)
        await_bytes(server, left + len(MORE))
        return {
            "first": first,
            "while_waiting": waited,
            "waited": STALL,
            "left": left,
            "after_more": len(epoll.poll(0)),
        }


def judge(numbers: Numbers) -> list[Finding]:
    """Level: one report for each read. Edge: one in all, and none for what was left.

    No threshold: the reports are counted.
    """
    level, edge, stalled = numbers["level"], numbers["edge"], numbers["stalled"]
    steps = numbers["arrival"] // numbers["step"]
    again = len(level["reports"]) == steps and level["left"][-1] == 0
    once = len(edge["reports"]) == 1 and edge["left"][-1] == 0
    silent = stalled["first"] == 1 and stalled["while_waiting"] == 0 and stalled["left"] > 0
    key = (
        f"{numbers['arrival'] >> 10} KiB read in {steps} steps: {len(level['reports'])} reports "
        f"level-triggered, {len(edge['reports'])} edge-triggered; after one step, "
        f"{stalled['left'] >> 10} KiB lay ready and {stalled['waited'] * 1000:g} ms brought "
        f"{stalled['while_waiting']} reports, one new byte {stalled['after_more']}"
    )
    return [Finding("E10", verdict(again and once and silent), key)]


def figures(numbers: Numbers) -> list[Chart]:
    """Draw each read, and each report, of the three readers."""
    stalled = numbers["stalled"]
    rows: dict[str, dict[str, list[float]]] = {
        "level-triggered": _happened(numbers["level"]),
        "edge, until EAGAIN": _happened(numbers["edge"]),
        "edge, one read a report": {"reports": [0], "reads": [0]},
    }
    text = (
        f"{numbers['arrival'] >> 10} KiB have come; every mark is a read of a KiB, or a report. "
        f"The third reader read once, and hears nothing of the {stalled['left'] >> 10} KiB that "
        "are left."
    )
    return [symbols.strip("e10-reports", "Reports of one arrival", text, rows, "KiB read")]


def _happened(found: dict[str, Any]) -> dict[str, list[float]]:
    return {"reports": found["reports"], "reads": list(range(len(found["left"]) - 1))}


EXPERIMENT = Experiment(
    claims={
        "E10": "Level-triggered epoll reports again until the data is consumed; edge-triggered "
        "epoll reports once."
    },
    title="Level and edge",
    method="64 KiB arrive whole and are read 1 KiB at a time: by a reader that asks a level-"
    "triggered epoll before each read, by one that asks an edge-triggered one and reads until "
    "EAGAIN, and by one that reads once and asks again.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=20, cpu_seconds=10),
)
