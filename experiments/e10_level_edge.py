"""E10: level-triggered epoll reports data that is there, edge-triggered epoll data that arrives.

64 KiB arrive on a connection and are read 1 KiB at a time, with epoll_wait (timeout 0) after each
read. Level-triggered epoll reports as long as a byte is left. Edge-triggered epoll reports once: a
reader that continues until EAGAIN gets everything; one that reads once and waits for the next
report hangs with 63 KiB unread, until new data arrives and causes another report.
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
"""Seconds that the stalled reader waits for a report; a report takes microseconds."""

MORE: Final = b"!"
"""New data for the stalled reader."""


def measure(_limits: Limits) -> Numbers:
    """Run three readers, each with one arrival."""
    return {
        "arrival": ARRIVAL,
        "step": STEP,
        "level": _reader(select.EPOLLIN, ask_each_time=True),
        "edge": _reader(select.EPOLLIN | select.EPOLLET, ask_each_time=False),
        "stalled": _stalled(),
    }


def _reader(interest: int, *, ask_each_time: bool) -> dict[str, Any]:
    """Read everything: call epoll before each read, or once and then read until EAGAIN."""
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
    """Edge-triggered: read once, wait for a report of the rest, then send one more byte."""
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
    """Level: one report per read. Edge: one in total, and none for the rest.

    No threshold: the reports are counted.
    """
    level, edge, stalled = numbers["level"], numbers["edge"], numbers["stalled"]
    steps = numbers["arrival"] // numbers["step"]
    again = len(level["reports"]) == steps and level["left"][-1] == 0
    once = len(edge["reports"]) == 1 and edge["left"][-1] == 0
    silent = stalled["first"] == 1 and stalled["while_waiting"] == 0 and stalled["left"] > 0
    key = (
        f"{numbers['arrival'] >> 10} KiB read in {steps} steps: {len(level['reports'])} reports "
        f"level-triggered, {len(edge['reports'])} edge-triggered; edge-triggered after one step, "
        f"with {stalled['left'] >> 10} KiB left: {stalled['while_waiting']} reports in "
        f"{stalled['waited'] * 1000:g} ms, {stalled['after_more']} after one new byte"
    )
    return [Finding("E10", verdict(again and once and silent), key)]


def figures(numbers: Numbers) -> list[Chart]:
    """Draw each read and each report of the three readers."""
    stalled = numbers["stalled"]
    rows: dict[str, dict[str, list[float]]] = {
        "level-triggered": _happened(numbers["level"]),
        "edge, until EAGAIN": _happened(numbers["edge"]),
        "edge, one read per report": {"reports": [0], "reads": [0]},
    }
    text = (
        f"{numbers['arrival'] >> 10} KiB have arrived; each mark is a read of 1 KiB, or a report. "
        f"The third reader read once and gets no report of the {stalled['left'] >> 10} KiB left."
    )
    return [symbols.strip("e10-reports", "Reports of one arrival", text, rows, "KiB read")]


def _happened(found: dict[str, Any]) -> dict[str, list[float]]:
    return {"reports": found["reports"], "reads": list(range(len(found["left"]) - 1))}


EXPERIMENT = Experiment(
    claims={
        "E10": "Level-triggered epoll reports again until the data is consumed; edge-triggered "
        "epoll reports once."
    },
    title="Level-triggered and edge-triggered",
    method="64 KiB arrive and are read 1 KiB at a time: by a reader that calls a level-triggered "
    "epoll before each read, by one that calls an edge-triggered epoll and reads until EAGAIN, and "
    "by one that reads once and calls epoll again.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=20, cpu_seconds=10),
)
