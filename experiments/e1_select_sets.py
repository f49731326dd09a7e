"""E1: select takes three sets and returns three whole sets, which the caller must walk.

The sets are bitmaps with one bit per descriptor number, watched or not. select overwrites them with
the ready descriptors, so the caller must refill them before each call, and after it check every bit
up to the highest descriptor. epoll, for comparison, returns only the ready descriptors.
"""

import select
import socket
from collections.abc import Sequence
from typing import Final

from chainlab.pages.charts import Chart
from experiments import drawing, libc
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.sockets import pairs

CONNECTIONS: Final = 100
"""Connections watched; even with both ends in this process, far below the 1,024 of a set."""

READY: Final = 3
"""Ready connections, one per set: readable, writable, urgent."""


def measure(_limits: Limits) -> Numbers:
    """Call select once on many connections, of which three are ready."""
    with pairs(CONNECTIONS) as made:
        servers = [server for server, _ in made]
        readable, urgent = made[CONNECTIONS // 2], made[-1]
        writable = servers[0]
        readable[1].sendall(b"x")
        urgent[1].send(b"!", socket.MSG_OOB)
        _await_both(readable[0], urgent[0])
        sets = [libc.Bits() for _ in range(3)]
        sets[0].add(each.fileno() for each in servers)
        sets[1].add([writable.fileno()])
        sets[2].add(each.fileno() for each in servers)
        asked = [each.count() for each in sets]
        count = max(each.fileno() for each in servers) + 1
        said = libc.select(count, sets[0], sets[1], sets[2], 0)
        found, walked = _walk(sets, count)
        return {
            "watched": CONNECTIONS,
            "bits_in": asked,
            "bits_out": [each.count() for each in sets],
            "bytes_each_way": 3 * (-(-count // 8)),
            "said": said,
            "found": found,
            "expected": [[readable[0].fileno()], [writable.fileno()], [urgent[0].fileno()]],
            "walked": walked,
            "epoll_returned": _epoll(servers, writable),
        }


def _await_both(readable: socket.socket, urgent: socket.socket) -> None:
    for sock, event in (readable, select.POLLIN), (urgent, select.POLLPRI):
        poll = select.poll()
        poll.register(sock, event)
        poll.poll()


def _walk(sets: Sequence[libc.Bits], count: int) -> tuple[list[list[int]], int]:
    """Check every bit, as a caller must; return the ready descriptors and the bits checked."""
    found: list[list[int]] = [[], [], []]
    walked = 0
    for fd in range(count):
        for members, ready in zip(sets, found, strict=True):
            walked += 1
            if members.holds(fd):
                ready.append(fd)
    return found, walked


def _epoll(servers: Sequence[socket.socket], writable: socket.socket) -> int:
    """Return how many entries epoll returns for the same connections."""
    with select.epoll() as epoll:
        for each in servers:
            writing = select.EPOLLOUT if each is writable else 0
            epoll.register(each, select.EPOLLIN | select.EPOLLPRI | writing)
        return len(epoll.poll(0))


def judge(numbers: Numbers) -> list[Finding]:
    """Each set must hold exactly its ready descriptors, found by walking the whole set.

    No threshold: checking fewer than all watched entries could miss a ready one.
    """
    exact = numbers["found"] == numbers["expected"]
    overwritten = [len(each) for each in numbers["found"]] == numbers["bits_out"]
    whole = numbers["walked"] >= sum(numbers["bits_in"])
    per_ready = numbers["walked"] / max(1, sum(numbers["bits_out"]))
    key = (
        f"bits set before {_each(numbers['bits_in'])} (read, write, exception), after "
        f"{_each(numbers['bits_out'])}; {numbers['walked']} entries walked to find "
        f"{sum(numbers['bits_out'])}: {per_ready:.0f} per ready one; epoll returned "
        f"{numbers['epoll_returned']}"
    )
    return [Finding("E1", verdict(exact and overwritten and whole), key)]


def _each(counts: list[int]) -> str:
    return " / ".join(str(count) for count in counts)


def figures(numbers: Numbers) -> list[Chart]:
    """Draw the entries checked beside those found."""
    rows = {
        "bits set, before": sum(numbers["bits_in"]),
        "bits set, after": sum(numbers["bits_out"]),
        "entries walked": numbers["walked"],
        "returned by epoll": numbers["epoll_returned"],
    }
    text = (
        f"One select(2) on {numbers['watched']} connections: one readable, one writable, one with "
        "an urgent byte. The caller walks three sets up to the highest descriptor."
    )
    return [drawing.bars("e1-walked", "Entries checked and found", text, rows, "entries")]


EXPERIMENT = Experiment(
    claims={
        "E1": "select watches three sets (read, write, exception) and returns whole sets, which "
        "the caller must walk to find the ready descriptors."
    },
    title="select: three sets, walked whole",
    method=f"{CONNECTIONS} TCP connections are put into the sets of one select(2); one has data, "
    "one has room to write, one has an urgent byte. The run counts the bits before and after, "
    "and the entries walked to find the ready ones.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=20, cpu_seconds=10),
)
