"""E6: select exists on almost every platform; which multiplexers this machine has besides.

One machine cannot measure all others. It can try each multiplexer of its Python on a connection
with data, and read the standard library, which is written for all systems: select is the only
multiplexer it uses without first checking that the system has it.
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
"""All that Python knows (docs.python.org/3/library/select.html); the last two are not on Linux."""


def measure(_limits: Limits) -> Numbers:
    """Try each multiplexer that exists, and read what the standard library takes for granted."""
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
    """Return the selectors that the standard library defines unconditionally."""
    tree = ast.parse(Path(selectors.__file__).read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    return [name for name in names if name.endswith("Selector") and name[0] not in "B_"]


def judge(numbers: Numbers) -> list[Finding]:
    """select must work here, and be the only one that the standard library takes for granted."""
    works, system = numbers["works"], numbers["system"]
    have = [name for name in MULTIPLEXERS if works[name]]
    lack = [name for name in MULTIPLEXERS if not works[name]]
    holds = works["select"] and numbers["unconditional"] == ["SelectSelector"]
    key = (
        f"this Python on {system} has {', '.join(have)}, but not {', '.join(lack)}; its "
        f"selectors module defines unconditionally: {', '.join(numbers['unconditional'])}"
    )
    scope = (
        f"Only one of “almost every platform” was measured: {system}. The standard library, "
        "written for all of them, is the evidence for the others."
    )
    return [Finding("E6", verdict(holds), key, scope)]


EXPERIMENT = Experiment(
    claims={"E6": "select is supported on almost every platform."},
    title="Which multiplexers exist",
    method="Each multiplexer of this Python is tried on a connection with data. The source of the "
    "standard library's selectors module is searched for classes that it defines "
    "unconditionally.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=15, cpu_seconds=10),
)
