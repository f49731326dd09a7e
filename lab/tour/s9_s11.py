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
"""In one round of the CPU measurement: enough for the kernel's ticks of 10 ms."""

_ROUNDS: Final = 3

_A_BIT: Final = 1.5
_A_LOT: Final = 3.0
"""Where the answers that can be chosen from part."""


def _compared(sandbox: Sandbox) -> Measured:
    file = sandbox.run_dir.path / "compare.json"
    said = sandbox.run([*_COMPARE, "--json", str(file)])
    lines = said.splitlines()
    tables = [line for line in lines if any(name in line for name in _PAIR)]
    return Measured(_first(json.loads(file.read_text())), [line.strip() for line in tables])


def _first(result: dict[str, Any]) -> str | None:
    """Who has the first place by CPU time per request: a, b, c for both; None: nobody."""
    by_cpu = next(each for each in result["standings"] if each["metric"] == "cpu")
    if by_cpu["unplaced"]:
        return None
    first = by_cpu["places"][0]["architectures"]
    return "c" if len(first) == 2 else "ab"[_PAIR.index(first[0])]


def _goroutines(sandbox: Sandbox) -> Measured:
    part = sandbox.server("go")
    most = clients.most_threads(part, "/wait?ms=2000")
    key = "a" if most >= clients.MANY else "c" if most == 1 else "b"
    seen = f"{clients.MANY} clients waiting, {most} threads, {len(os.sched_getaffinity(0))} cores"
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
    seen = [f"{name}: {cost:.1f} µs of CPU for each request" for name, cost in medians.items()]
    ratio = medians["epoll-lt"] / medians["c-extension"]
    key = "a" if ratio < _A_BIT else "b" if ratio < _A_LOT else "c"
    return Measured(key, [*seen, f"ratio {ratio:.1f}"])


S9 = Stage(
    "S9",
    "Multiplexing against coroutines",
    "The loop of callbacks and the loop of generators wait by the same epoll, so the difference is "
    "what the language adds. lab compare measures both in turns, verifies every answer, and gives "
    "a place only to what differs beyond the noise.",
    [
        Step(
            look="GET /hello on 8 kept connections, three short rounds: what a request costs each "
            "in CPU time. (The full comparison: lab compare --preset s9.)",
            by_hand=f"lab {' '.join(_COMPARE)}",
            question=Pick(
                "Who costs less?",
                {"a": "epoll-lt", "b": "coroutine", "c": "no difference beyond the noise"},
            ),
            measure=_compared,
            why="To resume a generator costs less than a microsecond, a system call about one. "
            "Which code is easier to read is the larger difference.",
        )
    ],
)

S10 = Stage(
    "S10",
    "A simple web framework in Go",
    "`go`: a router, middleware and handlers of our own on net. In Go every connection has a "
    "goroutine, whose code blocks; the runtime below it waits by epoll.",
    [
        Step(
            look=f"{clients.MANY} clients wait at once, each with a goroutine of its own.",
            by_hand="python -m servers go --listen 127.0.0.1:8000",
            question=Pick(
                "How many threads of the kernel's has the process?",
                {"a": f"{clients.MANY} or more: one each", "b": "a few", "c": "one"},
            ),
            measure=_goroutines,
            why="The runtime maps many goroutines to a few threads, about one for each core. It is "
            "the coroutine server's loop, inside the language, and on several cores. Read "
            "servers/go/cmd/go-http/.",
            unavailable=BACKENDS["go"].unavailable,
        ),
        Step(
            look="/hello is a route for GET. A client sends POST /hello.",
            question=Number("With which status does the router answer?"),
            measure=_method,
            why="Method Not Allowed, with an Allow field that names what is (RFC 9110, section "
            "15.5.6): a router that knows paths only would have said 404, or answered. Read "
            "servers/go/web/router.go.",
            unavailable=BACKENDS["go"].unavailable,
        ),
    ],
)

S11 = Stage(
    "S11",
    "A server as a C extension",
    "`c-extension`: loop, parser and sending in C, called from Python; the application stays "
    "Python.",
    [
        Step(
            look=f"{_REQUESTS} requests GET /hello on one kept connection, {_ROUNDS} rounds in "
            "turn: CPU time for each, of `epoll-lt` (Python) and of `c-extension`, the kernel's "
            "part included.",
            by_hand="make bench",
            question=Pick(
                "How many times what the C server costs does the Python one cost?",
                {"a": f"less than {_A_BIT:g} times", "b": f"{_A_BIT:g} to {_A_LOT:g} times",
                 "c": f"{_A_LOT:g} times or more"},
            ),
            measure=_in_c,
            why="The kernel's part, receiving, sending and waking up, is the same for both and "
            "cannot be sped up by a language. What is left is Python's, and C takes most of "
            "that away. Read servers/c_extension/loop.c.",
            unavailable=BACKENDS["c-extension"].unavailable,
        )
    ],
)  # fmt: skip
