"""E14: what must happen on the network for each epoll event.

The peer of a real TCP connection causes each event, and each is shown to be absent before.
EPOLLERR and EPOLLHUP are reported even if not requested. After EPOLLRDHUP (the peer sends no more)
this side may still send; after EPOLLHUP neither side may; after EPOLLERR there is an errno to
fetch (SO_ERROR).
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
"""The events that must be requested; EPOLLERR and EPOLLHUP are always reported."""

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
"""By what happens: the event it raises, and a function that does it. EPOLLOUT: `_drains`."""


def measure(_limits: Limits) -> Numbers:
    """Cause each event on a separate connection."""
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
    """EPOLLOUT disappears when the send buffer is full, and returns when the peer reads."""
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
    """Return the names of the events reported now."""
    bits = 0
    for _, found in epoll.poll(0):
        bits |= found
    return [name for name, bit in NAMES.items() if bits & bit]


def _await(epoll: select.epoll, event: str) -> list[str]:
    """Return the events reported once `event` is among them, or after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while event not in (found := _named(epoll)) and time.monotonic() < deadline:
        time.sleep(0.001)
    return found


def judge(numbers: Numbers) -> list[Finding]:
    """Each event must be absent before its cause and reported after it.

    No threshold: a bit is set or it is not.
    """
    cases = numbers["cases"]
    missing = [
        f"{case['event']} ({what})"
        for what, case in cases.items()
        if case["event"] in case["before"] or case["event"] not in case["after"]
    ]
    causes = "; ".join(f"{case['event']}: {what}" for what, case in cases.items())
    holds = not missing and {case["event"] for case in cases.values()} == set(NAMES)
    key = (
        f"each event was reported after its cause and not before: {causes}"
        if holds
        else f"not reported, or reported too early: {'; '.join(missing)}"
    )
    return [Finding("E14", verdict(holds), key)]


def figures(numbers: Numbers) -> list[Chart]:
    """Draw which events each cause raises."""
    rows = {
        what: {
            name.removeprefix("EPOLL"): ("reported before" if name in case["before"] else "raised")
            for name in case["after"]
        }
        for what, case in numbers["cases"].items()
    }
    text = "The events (EPOLLIN, …) that epoll reports after each of these."
    columns = [name.removeprefix("EPOLL") for name in NAMES]
    return [symbols.matrix("e14-events", "Events and what raises them", text, rows, columns)]


EXPERIMENT = Experiment(
    claims={
        "E14": "EPOLLIN: readable (or closed by the peer); OUT: writable; PRI: urgent data; ERR: "
        "an error; HUP: hung up (and RDHUP: the peer closed its half)."
    },
    title="The events, each raised",
    method="Each on a separate TCP connection: the peer sends, closes, sends an urgent byte, "
    "resets, closes its half; both close their halves; a full send buffer drains. The events that "
    "epoll reports are recorded before and after.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=60, cpu_seconds=20),
)
