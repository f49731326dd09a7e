"""E14: what a network must do for each event that epoll names.

Each is raised by what a real peer does to a real TCP connection, and beside each it is shown that
the event was not there before. EPOLLERR and EPOLLHUP are reported whether asked for or not. They
differ in what is left: after EPOLLRDHUP (the peer will send no more) this side may still send;
after EPOLLHUP neither may; after EPOLLERR there is an errno to fetch.
"""

import errno
import select
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from chainlab.pages.charts import Chart
from experiments import symbols
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.sockets import PATIENCE, pair, reset

NAMES: Final = {
    "EPOLLIN": select.EPOLLIN,
    "EPOLLOUT": select.EPOLLOUT,
    "EPOLLPRI": select.EPOLLPRI,
    "EPOLLERR": select.EPOLLERR,
    "EPOLLHUP": select.EPOLLHUP,
    "EPOLLRDHUP": select.EPOLLRDHUP,
}

ASKED: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLPRI | select.EPOLLRDHUP
"""All that must be asked for; EPOLLERR and EPOLLHUP come without."""

Ends = tuple[socket.socket, socket.socket]


def _data(ends: Ends) -> None:
    ends[1].sendall(b"x")


def _close(ends: Ends) -> None:
    ends[1].close()


def _urgent(ends: Ends) -> None:
    ends[1].send(b"!", socket.MSG_OOB)


def _reset(ends: Ends) -> None:
    reset(ends[1])


def _half_close(ends: Ends) -> None:
    ends[1].shutdown(socket.SHUT_WR)


def _both_halves(ends: Ends) -> None:
    ends[0].shutdown(socket.SHUT_WR)
    ends[1].shutdown(socket.SHUT_WR)


CASES: Final[dict[str, tuple[str, Callable[[Ends], None]]]] = {
    "the peer sends a byte": ("EPOLLIN", _data),
    "the peer closes": ("EPOLLIN", _close),
    "the peer sends an urgent byte": ("EPOLLPRI", _urgent),
    "the peer resets the connection": ("EPOLLERR", _reset),
    "both close their half": ("EPOLLHUP", _both_halves),
    "the peer closes its half": ("EPOLLRDHUP", _half_close),
}
"""What happens, the event that it is told by, and how it is made to happen. EPOLLOUT is apart."""


def measure(_limits: Limits) -> Numbers:
    """Let each happen to a connection of its own."""
    found = {what: _case(event, happen) for what, (event, happen) in CASES.items()}
    found["the peer reads, and the full buffer drains"] = _drains()
    return {"cases": found}


def _case(event: str, happen: Callable[[Ends], None]) -> dict[str, Any]:
    with pair() as ends, select.epoll() as epoll:
        epoll.register(ends[0], ASKED)
        before = _named(epoll)
        happen(ends)
        return {
            "event": event,
            "before": before,
            "after": _await(epoll, event),
            "errno": errno.errorcode.get(ends[0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)),
        }


def _drains() -> dict[str, Any]:
    """EPOLLOUT goes when the send buffer is full, and comes back when the peer reads."""
    with pair() as (server, client), select.epoll() as epoll:
        server.setblocking(False)
        epoll.register(server, ASKED)
        sent = 0
        try:
            while True:
                sent += server.send(bytes(1 << 16))
        except BlockingIOError:
            before = _named(epoll)
        while sent > 0:
            sent -= len(client.recv(1 << 20))
        return {
            "event": "EPOLLOUT",
            "before": before,
            "after": _await(epoll, "EPOLLOUT"),
            "errno": None,
        }


def _named(epoll: select.epoll) -> list[str]:
    """What is reported now."""
    bits = 0
    for _, found in epoll.poll(0):
        bits |= found
    return [name for name, bit in NAMES.items() if bits & bit]


def _await(epoll: select.epoll, event: str) -> list[str]:
    """What is reported once `event` is, or when it does not come."""
    deadline = time.monotonic() + PATIENCE
    while event not in (found := _named(epoll)) and time.monotonic() < deadline:
        time.sleep(0.001)
    return found


def judge(numbers: Numbers) -> list[Finding]:
    """Each event was not reported before what raises it happened, and was after.

    No threshold: a bit is set or it is not.
    """
    cases = numbers["cases"]
    missing = [
        f"{case['event']} when {what}"
        for what, case in cases.items()
        if case["event"] in case["before"] or case["event"] not in case["after"]
    ]
    told = "; ".join(f"{case['event']}: {what}" for what, case in cases.items())
    holds = not missing and {case["event"] for case in cases.values()} == set(NAMES)
    key = f"reported each, and not before: {told}" if holds else f"not {'; not '.join(missing)}"
    return [Finding("E14", verdict(holds), key)]


def figures(numbers: Numbers) -> list[Chart]:
    """Draw which events each thing that happens brings."""
    rows = {
        what: {
            name.removeprefix("EPOLL"): (
                "was there before" if name in case["before"] else "raised by it"
            )
            for name in case["after"]
        }
        for what, case in numbers["cases"].items()
    }
    text = "What epoll reports of a connection (EPOLLIN, …) after each of these has happened."
    columns = [name.removeprefix("EPOLL") for name in NAMES]
    return [symbols.matrix("e14-events", "Events, and what raises them", text, rows, columns)]


EXPERIMENT = Experiment(
    claims={
        "E14": "EPOLLIN: readable (or closed by the peer); OUT: writable; PRI: urgent data; ERR: "
        "an error; HUP: hung up (and RDHUP: the peer closed its half)."
    },
    title="The events, each raised",
    method="A TCP connection for each: the peer sends, closes, sends an urgent byte, resets, "
    "closes its half, both close theirs; a full send buffer drains. What epoll reports is "
    "noted before and after.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=60, cpu_seconds=20),
)
