"""S4: the whole life of a TCP connection, paused in each of its states.

`connection_lives` acts on the connections, `tcp_states` reads their states. This module judges the
order: each state change of an end must be an arrow of RFC 9293's figure 5, and all eleven states
must be seen. It also judges what the states are for: one half can be closed alone, a reset skips
the teardown, and the end that closed first keeps its port pair in TIME_WAIT.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from chainlab.pages.charts import Chart
from experiments import symbols
from experiments.connection_lives import LIVES, live
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.ladder import Rung, ladder

ARROWS: Final[dict[str, tuple[str, ...]]] = {
    "CLOSED": ("LISTEN", "SYN_SENT"),
    "LISTEN": ("SYN_RECV", "SYN_SENT", "CLOSED"),
    "SYN_SENT": ("SYN_RECV", "ESTABLISHED", "CLOSED"),
    "SYN_RECV": ("ESTABLISHED", "FIN_WAIT1", "LISTEN"),
    "ESTABLISHED": ("FIN_WAIT1", "CLOSE_WAIT"),
    "FIN_WAIT1": ("FIN_WAIT2", "CLOSING", "TIME_WAIT"),
    "FIN_WAIT2": ("TIME_WAIT",),
    "CLOSE_WAIT": ("LAST_ACK",),
    "CLOSING": ("TIME_WAIT",),
    "LAST_ACK": ("CLOSED",),
    "TIME_WAIT": ("CLOSED",),
}
"""RFC 9293, figure 5, with Linux's names. FIN_WAIT1 to TIME_WAIT is its note 2: one segment with
both FIN and ACK. A reset leads from any state to CLOSED; the figure omits that."""

TIME_WAIT_SECONDS: Final = 60.0
"""TCP_TIMEWAIT_LEN (include/net/tcp.h), a constant of the kernel."""

SLACK_SECONDS: Final = 1.0
"""Tolerance: the timer wheel rounds a one-minute timer by up to half a second
(kernel/time/timer.c)."""

GROUPS: Final = {
    "CLOSED": "no connection", "LISTEN": "being opened", "SYN_SENT": "being opened",
    "SYN_RECV": "being opened", "ESTABLISHED": "open", "FIN_WAIT1": "closed first",
    "FIN_WAIT2": "closed first", "CLOSING": "closed first", "TIME_WAIT": "closed first",
    "CLOSE_WAIT": "the other closed first", "LAST_ACK": "the other closed first",
}  # fmt: skip

_ENDS: Final = ("client", "server")


def measure(_limits: Limits) -> Numbers:
    """Run each life."""
    return {"lives": {name: live(life) for name, life in LIVES.items()}}


def changes(numbers: Numbers) -> Iterator[tuple[str, str, bool]]:
    """Yield each state change of an end: from, to, and whether a reset caused it."""
    for life in numbers["lives"].values():
        for before, after in pairwise(life["steps"]):
            for end in _ENDS:
                if before[end] != after[end]:
                    yield before[end], after[end], after["resets"]


def judge(numbers: Numbers) -> list[Finding]:
    """Judge the order of the states, half close, reset and TIME_WAIT."""
    one, both, first, reusing, reset, closed = (numbers["lives"][name] for name in LIVES)
    del both
    return [
        _states(numbers),
        _half_close(one),
        _resets(reset, closed),
        _time_wait(one, first, reusing),
    ]


def _allowed(before: str, after: str, resets: bool) -> bool:
    return after in ARROWS.get(before, ()) or (resets and after == "CLOSED")


def _states(numbers: Numbers) -> Finding:
    steps = [step for life in numbers["lives"].values() for step in life["steps"]]
    seen = {step[end] for step in steps for end in _ENDS}
    taken = list(changes(numbers))
    wrong = [
        f"{before} to {after}" for before, after, by in taken if not _allowed(before, after, by)
    ]
    wrong += [f"no {state} was seen" for state in ARROWS if state not in seen]
    wrong += [
        f"{step['what']}: /proc/net/tcp says {step[end]}, TCP_INFO {step[f'{end}_says']}"
        for step in steps
        for end in _ENDS
        if step[f"{end}_says"] not in ("", _of_a_socket(step[end]))
    ]
    arrows = {(before, after) for before, after, by in taken if after in ARROWS[before]}
    key = (
        f"all {len(ARROWS)} states seen; each of {len(taken)} changes is an arrow of RFC 9293's "
        f"figure 5 ({len(arrows)} of {sum(map(len, ARROWS.values()))} arrows seen) or a reset"
    )
    scope = (
        "Without the pauses most states last microseconds. CLOSING normally needs FINs that cross "
        "on the way, rare on the loopback; here one FIN waited behind unread data while the other "
        "arrived."
    )
    return Finding("S4", verdict(not wrong), "; ".join(wrong) or key, scope, part="the states")


def _of_a_socket(state: str) -> str:
    """Translate a state from the table to TCP_INFO's: in TIME_WAIT the socket is already closed."""
    return "CLOSED" if state == "TIME_WAIT" else state


def _half_close(life: Numbers) -> Finding:
    """After one side's FIN, the other must still be able to send, and all of it arrive."""
    sent, received = life["late"]
    holds = sent == received > 0 and life["client_send"] == "EPIPE"
    key = (
        f"after the client's FIN the server sent {sent:,} bytes; the client received "
        f"{received:,}, and its own send failed with {life['client_send']}"
    )
    return Finding("S4", verdict(holds), key, part="half close")


def _resets(reset: Numbers, closed: Numbers) -> Finding:
    """Both ends must be closed at once, without TIME_WAIT, and the peer must get an error."""
    last = [life["steps"][-1] for life in (reset, closed)]
    gone = all(step[end] == "CLOSED" for step in last for end in _ENDS)
    holds = gone and reset["recv"] == "ECONNRESET" and closed["first"] == "1"
    holds = holds and closed["second"] in ("EPIPE", "ECONNRESET")
    states = " and ".join(f"{step['client']}, {step['server']}" for step in last)
    key = (
        f"after a close with SO_LINGER 0 the peer's recv gives {reset['recv']}; on data to a "
        f"closed socket, the first send gives {closed['first']}, the next {closed['second']}; "
        f"states of the ends afterwards: {states}"
    )
    return Finding("S4", verdict(holds), key, part="reset")


def _time_wait(one: Numbers, first: Numbers, reusing: Numbers) -> Finding:
    """It must stay for a minute at the end that closed first, and block the port meanwhile."""
    ends = [life["steps"][-1] for life in (one, first)]
    sides = [[end for end in _ENDS if step[end] == "TIME_WAIT"] for step in ends]
    timers = [life["time_wait"] for life in (one, first)]
    holds = (
        sides == [["client"], ["server"]]
        and all(_a_minute(timer["left"], timer["since"]) for timer in timers)
        and first["bind"] == reusing["bind"] == "EADDRINUSE"
        and reusing["bind_reusing"] == "None"
    )
    left = ", ".join("none" if t["left"] is None else f"{t['left']:.1f} s" for t in timers)
    key = (
        f"if the client closes first, TIME_WAIT is at {_named(sides[0])}; if the server does, at "
        f"{_named(sides[1])}; the kernel's timers show {left}; bind to the server's port "
        f"meanwhile: {first['bind']}; with SO_REUSEADDR: {_bound(reusing['bind_reusing'])}"
    )
    scope = (
        "The RFC requires twice the maximum segment lifetime, 4 minutes; Linux waits one. "
        "SO_REUSEADDR must be set on the old listener too; if only the new one has it, bind "
        f"gives: {_bound(first['bind_reusing'])}."
    )
    return Finding("S4", verdict(holds), key, scope, part="TIME_WAIT")


def _a_minute(left: float | None, since: float) -> bool:
    """Return True if a timer started at most `since` seconds ago has run from TIME_WAIT_SECONDS."""
    if left is None:
        return False
    return TIME_WAIT_SECONDS - since - SLACK_SECONDS <= left <= TIME_WAIT_SECONDS + SLACK_SECONDS


def _named(sides: list[str]) -> str:
    return " and ".join(f"the {side}" for side in sides) or "neither"


def _bound(result: str) -> str:
    return "success" if result == "None" else result


def figures(numbers: Numbers) -> list[Chart]:
    """Draw the lives as ladders, and the changes beside the RFC's arrows."""
    lives = {
        name: [Rung(step["what"], [step[end] for end in _ENDS]) for step in life["steps"]]
        for name, life in numbers["lives"].items()
    }
    text = "The steps from top to bottom, and the states of both ends after each."
    return [
        ladder("s4-ladder", "A connection's two ends", text, lives, _ENDS, GROUPS),
        _diagram(numbers),
    ]


def _diagram(numbers: Numbers) -> Chart:
    """Draw the state changes seen, and the RFC's other arrows."""
    kinds = {
        (before, after): "RFC arrow, not seen here"
        for before, others in ARROWS.items() for after in others
    }  # fmt: skip
    for before, after, _ in changes(numbers):
        arrow = after in ARROWS.get(before, ())
        reset = "reset" if after == "CLOSED" else "seen, not an RFC arrow"
        kinds[before, after] = "RFC arrow, seen" if arrow else reset
    rows = {
        before: {after: kinds[before, after] for after in ARROWS if (before, after) in kinds}
        for before in ARROWS
    }
    text = "Changes from a state (left) to a state (top), and the arrows of RFC 9293's figure 5."
    return symbols.matrix(
        "s4-arrows", "State changes seen and in the RFC", text, rows, list(ARROWS)
    )


EXPERIMENT = Experiment(
    claims={
        "S4": "Understand the whole life of a TCP connection: handshake, the states of "
        "both ends, half close, teardown, TIME_WAIT, reset; RFC 9293 has them in order."
    },
    title="The life of a TCP connection",
    method="Six connections are opened and closed, each in a different way. States that would last "
    "microseconds are prolonged: a full queue drops the SYN, TCP_DEFER_ACCEPT ignores the last "
    "ACK, a FIN waits behind unread data. After each step the states of both ends are read from "
    "/proc/net/tcp and TCP_INFO.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=150, cpu_seconds=60),
)
