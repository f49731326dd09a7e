"""S4: the whole life of a TCP connection, held still in each of its states.

`lives` has what is done to the connections, `tcp_states` how they are looked at. What is judged
here is the order: each change of an end's state must be an arrow of RFC 9293's figure 5, and
all its eleven states must have been there to be seen. Then what the states are for: one half may be
closed alone, a reset skips all of it, and TIME_WAIT keeps the pair of ports of who closed first.
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
"""RFC 9293, figure 5, in Linux' names; from FIN_WAIT1 to TIME_WAIT by its note 2: one segment that
brings the FIN and the ACK. A reset leads from anywhere to CLOSED, which the figure leaves out."""

TIME_WAIT_SECONDS: Final = 60.0
"""TCP_TIMEWAIT_LEN (include/net/tcp.h); no setting changes it."""

SLACK_SECONDS: Final = 1.0
"""The timer wheel rounds a timer of a minute by up to half a second (kernel/time/timer.c)."""

GROUPS: Final = {
    "CLOSED": "no connection", "LISTEN": "being opened", "SYN_SENT": "being opened",
    "SYN_RECV": "being opened", "ESTABLISHED": "open", "FIN_WAIT1": "closed first",
    "FIN_WAIT2": "closed first", "CLOSING": "closed first", "TIME_WAIT": "closed first",
    "CLOSE_WAIT": "the other closed first", "LAST_ACK": "the other closed first",
}  # fmt: skip

_ENDS: Final = ("client", "server")


def measure(_limits: Limits) -> Numbers:
    """Live each of them."""
    return {"lives": {name: live(life) for name, life in LIVES.items()}}


def changes(numbers: Numbers) -> Iterator[tuple[str, str, bool]]:
    """Yield each change of an end's state: from, to, and whether by a reset."""
    for life in numbers["lives"].values():
        for before, after in pairwise(life["steps"]):
            for end in _ENDS:
                if before[end] != after[end]:
                    yield before[end], after[end], after["resets"]


def judge(numbers: Numbers) -> list[Finding]:
    """Judge the order of the states, and what half closing, resets and TIME_WAIT do."""
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
        f"{step['what']}: the table says {step[end]}, the socket {step[f'{end}_says']}"
        for step in steps
        for end in _ENDS
        if step[f"{end}_says"] not in ("", _of_a_socket(step[end]))
    ]
    arrows = {(before, after) for before, after, by in taken if after in ARROWS[before]}
    key = (
        f"all {len(ARROWS)} states seen, {len(taken)} changes, each in the order of RFC 9293's "
        f"figure 5 ({len(arrows)} of its {sum(map(len, ARROWS.values()))} arrows) or by a reset"
    )
    scope = (
        "Without a hold most of them last for microseconds. CLOSING is said to need FINs that "
        "cross on their way, which on the loopback they hardly do; here one waited behind data "
        "that was not read while the other one arrived."
    )
    return Finding("S4", verdict(not wrong), "; ".join(wrong) or key, scope, part="the states")


def _of_a_socket(state: str) -> str:
    """Return what a socket says that the table has in a state: TIME_WAIT is the kernel's alone."""
    return "CLOSED" if state == "TIME_WAIT" else state


def _half_close(life: Numbers) -> Finding:
    """One side may send no more, the other one still does, and it all arrives."""
    sent, received = life["late"]
    holds = sent == received > 0 and life["client_send"] == "EPIPE"
    key = (
        f"after the client's FIN the server sent {sent:,} bytes; the client, who may send no more "
        f"({life['client_send']}), received {received:,}"
    )
    return Finding("S4", verdict(holds), key, part="half close")


def _resets(reset: Numbers, closed: Numbers) -> Finding:
    """Both ends are gone at once, without TIME_WAIT, and the one that was reset is told."""
    last = [life["steps"][-1] for life in (reset, closed)]
    gone = all(step[end] == "CLOSED" for step in last for end in _ENDS)
    holds = gone and reset["recv"] == "ECONNRESET" and closed["first"] == "1"
    holds = holds and closed["second"] in ("EPIPE", "ECONNRESET")
    states = " and ".join(f"{step['client']}, {step['server']}" for step in last)
    key = (
        f"closed with SO_LINGER 0: the peer's recv says {reset['recv']}; data to a closed socket: "
        f"the first send says {closed['first']}, the next one {closed['second']}; both ends after "
        f"it: {states}"
    )
    return Finding("S4", verdict(holds), key, part="reset")


def _time_wait(one: Numbers, first: Numbers, reusing: Numbers) -> Finding:
    """It stays with who closed first, for a minute, and keeps the port from who does not ask."""
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
        f"the client closed first: left at {_named(sides[0])}; the server first: at "
        f"{_named(sides[1])}; on the kernel's timer {left}; bind of the server's port meanwhile: "
        f"{first['bind']}, with SO_REUSEADDR {_bound(reusing['bind_reusing'])}"
    )
    scope = (
        "The RFC says twice the longest life of a segment, 4 minutes; Linux a minute. SO_REUSEADDR "
        "must have been set on the old listener too: on the new one alone, bind says "
        f"{_bound(first['bind_reusing'])}."
    )
    return Finding("S4", verdict(holds), key, scope, part="TIME_WAIT")


def _a_minute(left: float | None, since: float) -> bool:
    """Whether a timer that began at most `since` seconds ago is one of TIME_WAIT_SECONDS."""
    if left is None:
        return False
    return TIME_WAIT_SECONDS - since - SLACK_SECONDS <= left <= TIME_WAIT_SECONDS + SLACK_SECONDS


def _named(sides: list[str]) -> str:
    return " and ".join(f"the {side}" for side in sides) or "neither"


def _bound(said: str) -> str:
    return "it succeeds" if said == "None" else said


def figures(numbers: Numbers) -> list[Chart]:
    """Draw the lives as ladders, and the changes beside the RFC's arrows."""
    lives = {
        name: [Rung(step["what"], [step[end] for end in _ENDS]) for step in life["steps"]]
        for name, life in numbers["lives"].items()
    }
    text = "What is done, from above to below, and the states of the two ends after it."
    return [
        ladder("s4-ladder", "A connection's two ends", text, lives, _ENDS, GROUPS),
        _diagram(numbers),
    ]


def _diagram(numbers: Numbers) -> Chart:
    """Draw from which state to which: what was seen, and what the RFC has besides."""
    kinds = {
        (before, after): "an arrow that was not taken here"
        for before, others in ARROWS.items() for after in others
    }  # fmt: skip
    for before, after, _ in changes(numbers):
        arrow = after in ARROWS.get(before, ())
        reset = "by a reset" if after == "CLOSED" else "seen, and no arrow of the RFC"
        kinds[before, after] = "an arrow, and seen" if arrow else reset
    rows = {
        before: {after: kinds[before, after] for after in ARROWS if (before, after) in kinds}
        for before in ARROWS
    }
    text = "From which state (left) to which (above): the arrows of RFC 9293's figure 5."
    return symbols.matrix("s4-arrows", "The changes, and the RFC's", text, rows, list(ARROWS))


EXPERIMENT = Experiment(
    claims={
        "S4": "Understand the whole life of a TCP connection: handshake, the states of "
        "both ends, half close, teardown, TIME_WAIT, reset; RFC 9293 has them in order."
    },
    title="The life of a TCP connection",
    method="Six connections are opened and ended, each in another way. States that pass in "
    "microseconds are held: a full queue drops the SYN, TCP_DEFER_ACCEPT takes no notice of the "
    "last ACK, a FIN waits behind data that nobody reads. After each step both ends are looked up "
    "in /proc/net/tcp and asked by TCP_INFO.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=150, cpu_seconds=60),
)
