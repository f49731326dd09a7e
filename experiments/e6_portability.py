"""E6: select is the one that is everywhere; what this machine has beside it.

A single machine cannot measure all others. What it can do is ask each multiplexer that its Python
has about a connection with data, and look into the standard library, which was written for all
systems: there select alone needs no question whether the system has it.
"""

import ast
import platform
import select
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.sockets import await_bytes, pair

MULTIPLEXERS: Final = ("select", "poll", "epoll", "devpoll", "kqueue")
"""All that Python knows (docs.python.org/3/library/select.html); the last two are not Linux's."""


def measure(_limits: Limits) -> Numbers:
    """Ask each that is there, and read how the standard library chooses."""
    with pair() as (server, client):
        client.sendall(b"x")
        await_bytes(server, 1)
        asking: dict[str, Callable[[socket.socket], bool]] = {
            "select": _select, "poll": _poll, "epoll": _epoll
        }  # fmt: skip
        found = {}
        for name in MULTIPLEXERS:
            there = hasattr(select, name)
            found[name] = there and (asking[name](server) if name in asking else True)
    return {
        "system": platform.system(),
        "works": found,
        "unconditional": _unconditional(),
    }


def _select(server: socket.socket) -> bool:
    return select.select([server], [], [], 0)[0] == [server]


def _poll(server: socket.socket) -> bool:
    poll = select.poll()
    poll.register(server, select.POLLIN)
    return len(poll.poll(0)) == 1


def _epoll(server: socket.socket) -> bool:
    with select.epoll() as epoll:
        epoll.register(server, select.EPOLLIN)
        return len(epoll.poll(0)) == 1


def _unconditional() -> list[str]:
    """The selectors that Python's standard library defines without asking what the system has."""
    tree = ast.parse(Path(selectors.__file__).read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    return [name for name in names if name.endswith("Selector") and name[0] not in "B_"]


def judge(numbers: Numbers) -> list[Finding]:
    """It works here, and the library that is written for all systems takes it for granted."""
    works, system = numbers["works"], numbers["system"]
    have = [name for name in MULTIPLEXERS if works[name]]
    lack = [name for name in MULTIPLEXERS if not works[name]]
    holds = works["select"] and numbers["unconditional"] == ["SelectSelector"]
    key = (
        f"this Python on {system} has {', '.join(have)}, and not {', '.join(lack)}; its "
        f"selectors module defines without asking: {', '.join(numbers['unconditional'])}"
    )
    scope = (
        f"Of “almost every platform” one was measured: {system}. The others are known from a "
        "library that is written for them."
    )
    return [Finding("E6", verdict(holds), key, scope)]


EXPERIMENT = Experiment(
    claims={"E6": "select is supported on almost every platform."},
    title="Which multiplexers there are",
    method="Each multiplexer that this Python has is asked about a connection with data. The "
    "source of the standard library's selectors module is read: which of its classes stand "
    "there without a condition.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=15, cpu_seconds=10),
)
