"""S9 to S11: the comparison, the Go server, the C extension."""

import json
import os
import statistics
from typing import Any, Final

from lab.chain.backends import BACKENDS
from lab.tour import clients
from lab.tour.sandbox import Sandbox
from lab.tour.stage import Measured, Number, Pick, Stage, Step

_PAIR: Final = ("epoll-lt", "coroutine")
_COMPARE: Final = (
    "compare", *_PAIR, "--connections", "8", "--rounds", "3", "--duration", "0.5", "--quick",
)  # fmt: skip

_REQUESTS: Final = 4000
"""Requests per round of the CPU measurement: enough for the kernel's ticks of 10 ms."""

_ROUNDS: Final = 3

_A_BIT: Final = 1.5
_A_LOT: Final = 3.0
"""CPU ratios that separate the options to choose from."""


def _compared(sandbox: Sandbox) -> Measured:
    file = sandbox.run_dir.path / "compare.json"
    output = sandbox.run([*_COMPARE, "--json", str(file)])
    rows = [line for line in output.splitlines() if any(name in line for name in _PAIR)]
    return Measured(_first(json.loads(file.read_text())), [line.strip() for line in rows])


def _first(result: dict[str, Any]) -> str | None:
    """Return the option with the least CPU time per request; c: both; None: undecided."""
    by_cpu = next(each for each in result["standings"] if each["metric"] == "cpu")
    if by_cpu["unplaced"]:
        return None
    first = by_cpu["places"][0]["architectures"]
    return "c" if len(first) == 2 else "ab"[_PAIR.index(first[0])]


def _goroutines(sandbox: Sandbox) -> Measured:
    part = sandbox.server("go")
    most = clients.most_threads(part, "/wait?ms=2000")
    key = "a" if most >= clients.MANY else "c" if most == 1 else "b"
    seen = f"{clients.MANY} waiting clients, {most} threads, {len(os.sched_getaffinity(0))} cores"
    return Measured(key, [seen])


def _method(sandbox: Sandbox) -> Measured:
    answer = clients.ask(sandbox.server("go"), "/hello", method="POST")
    allow = [line for line in answer.head.splitlines() if line.lower().startswith("allow")]
    return Measured(float(answer.status), [answer.head.splitlines()[0], *allow])


def _in_c(sandbox: Sandbox) -> Measured:
    costs: dict[str, list[float]] = {"epoll-lt": [], "c-extension": []}
    for _ in range(_ROUNDS):
        for name, found in costs.items():
            found.append(clients.cpu_per_request(sandbox.server(name), _REQUESTS))
    medians = {name: statistics.median(found) for name, found in costs.items()}
    seen = [f"{name}: {cost:.1f} µs of CPU per request" for name, cost in medians.items()]
    ratio = medians["epoll-lt"] / medians["c-extension"]
    key = "a" if ratio < _A_BIT else "b" if ratio < _A_LOT else "c"
    return Measured(key, [*seen, f"ratio {ratio:.1f}"])


S9 = Stage(
    "S9",
    "Multiplexing against coroutines",
    "Callbacks and generators wait with the same epoll, so the difference is what the language "
    "adds. lab compare measures both in turn, verifies every answer, and ranks only differences "
    "beyond the noise.",
    [
        Step(
            setup="GET /hello on 8 keep-alive connections, in three short rounds: the CPU time per "
            "request of each server. (The full comparison: lab compare --preset s9.)",
            by_hand=f"lab {' '.join(_COMPARE)}",
            question=Pick(
                "Which server costs less?",
                {"a": "epoll-lt", "b": "coroutine", "c": "no difference beyond the noise"},
            ),
            measure=_compared,
            why="Resuming a generator costs less than a microsecond, a system call about one. The "
            "larger difference is which code is easier to read.",
        )
    ],
)

S10 = Stage(
    "S10",
    "A simple web framework in Go",
    "`go`: our own router, middleware and handlers on top of net. In Go every connection has a "
    "goroutine with blocking code; the runtime below it waits with epoll.",
    [
        Step(
            setup=f"{clients.MANY} clients wait at once, each with its own goroutine.",
            by_hand="python -m servers go --listen 127.0.0.1:8000",
            question=Pick(
                "How many kernel threads does the process have?",
                {"a": f"{clients.MANY} or more: one each", "b": "a few", "c": "one"},
            ),
            measure=_goroutines,
            why="The runtime runs many goroutines on a few threads: one per core runs Go code, the "
            "others make blocking system calls or serve the runtime. It is the coroutine server's "
            "loop, built into the language and on several cores. Read servers/go/cmd/go-http/.",
            unavailable=BACKENDS["go"].unavailable,
        ),
        Step(
            setup="/hello is a GET route. A client sends POST /hello.",
            question=Number("With which status does the router answer?"),
            measure=_method,
            why="405 Method Not Allowed, with an Allow field that lists the allowed methods (RFC "
            "9110, section 15.5.6). A router that knew only paths would answer 404, or run the "
            "handler. Read servers/go/web/router.go.",
            unavailable=BACKENDS["go"].unavailable,
        ),
    ],
)

S11 = Stage(
    "S11",
    "A server as a C extension",
    "`c-extension`: loop, parser and sending in C, called from Python; the application stays in "
    "Python.",
    [
        Step(
            setup=f"{_REQUESTS} requests GET /hello on one keep-alive connection, {_ROUNDS} "
            "rounds in turn: the CPU time per request of `epoll-lt` (Python) and of "
            "`c-extension`, including the kernel's part.",
            by_hand="make bench",
            question=Pick(
                "How much CPU does the Python server take, compared with the C server?",
                {"a": f"less than {_A_BIT:g} times", "b": f"{_A_BIT:g} to {_A_LOT:g} times",
                 "c": f"{_A_LOT:g} times or more"},
            ),
            measure=_in_c,
            why="The kernel's part (receiving, sending, waking up) is the same for both. The "
            "rest is Python's own work, and C removes most of it. Read "
            "servers/c_extension/loop.c.",
            unavailable=BACKENDS["c-extension"].unavailable,
        )
    ],
)  # fmt: skip
