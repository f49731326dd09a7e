"""K4: a blocked process uses no CPU, and blocking is what it does itself.

Four small servers beside each other: blocked in accept(2), in recv(2), in epoll_wait(2), and one
that asks a nonblocking socket in a loop. /proc is looked at from outside while nothing comes. Then
one byte for each shows that they were waiting, not dead: it is answered.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from chainlab.pages.charts import Chart
from experiments import proc
from experiments.drawing import bars
from experiments.frame import NOT_MEASURED, Experiment, Finding, Limits, Numbers, verdict

WATCHED: Final = 2.0
"""Seconds: 200 ticks of CPU time."""

BURNS: Final = 0.1
"""Of a core: what a process that never sleeps gets where nine others want that core too."""

POLLER: Final = "recv in a loop"
_LOOKS: Final = 40

Serve = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True)
class Server:
    """One of them, and its client, connected unless the server is in accept."""

    pid: int
    address: tuple[str, int]
    client: socket.socket

    def ask(self, *, connected: bool) -> bool:
        """Let something come; whether there was an answer."""
        if connected:
            self.client.sendall(b"x")
        else:
            self.client.connect(self.address)
        return bool(self.client.recv(1))


def _accept(listener: socket.socket) -> None:
    listener.accept()[0].sendall(b"y")


def _recv(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    connection.sendall(connection.recv(1))


def _epoll(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with select.epoll() as poller:
        poller.register(connection, select.EPOLLIN)
        poller.poll()
    connection.sendall(connection.recv(1))


def _poll(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    connection.setblocking(False)
    while True:
        with suppress(BlockingIOError):
            connection.sendall(connection.recv(1))
            return


SERVERS: Final[dict[str, Serve]] = {
    "accept": _accept, "recv": _recv, "epoll_wait": _epoll, POLLER: _poll,
}  # fmt: skip


def measure(_limits: Limits) -> Numbers:
    """Start them, look at them, ask them."""
    started = {name: _start(name, serve) for name, serve in SERVERS.items()}
    try:
        time.sleep(0.2)  # until they are where they will wait; what is counted begins after it
        before = {name: proc.task(server.pid) for name, server in started.items()}
        begin = time.monotonic()
        seen: dict[str, list[str]] = {name: [] for name in started}
        for _ in range(_LOOKS):
            time.sleep(WATCHED / _LOOKS)
            for name, server in started.items():
                seen[name].append(proc.task(server.pid).state)
        seconds = time.monotonic() - begin
        return {
            "seconds": round(seconds, 3),
            "servers": {
                name: {
                    **_difference(before[name], proc.task(server.pid)),
                    "sleeping": seen[name].count("S") / len(seen[name]),
                    "where": proc.where(server.pid),
                    "answered": server.ask(connected=name != "accept"),
                }
                for name, server in started.items()
            },
        }
    finally:
        for server in started.values():
            server.client.close()
            os.kill(server.pid, signal.SIGKILL)
            os.waitpid(server.pid, 0)


def _start(name: str, serve: Serve) -> Server:
    """Start one, and its client."""
    listener = socket.create_server(("127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        try:
            serve(listener)
        finally:
            os._exit(0)
    client = socket.socket()
    client.settimeout(10)
    address = listener.getsockname()
    listener.close()
    if name != "accept":
        client.connect(address)
    return Server(pid, address, client)


def _difference(before: proc.Task, after: proc.Task) -> dict[str, float]:
    return {
        "cpu_seconds": round(after.cpu_seconds - before.cpu_seconds, 3),
        "voluntary": after.voluntary - before.voluntary,
        "involuntary": after.involuntary - before.involuntary,
    }


def judge(numbers: Numbers) -> list[Finding]:
    """Those that blocked slept all the time and used no tick; the poller shows what a tick is."""
    seconds, servers = numbers["seconds"], numbers["servers"]
    blocked = {name: each for name, each in servers.items() if name != POLLER}
    slept = all(
        each["sleeping"] == 1 and each["cpu_seconds"] == 0 and each["voluntary"] == 0
        for each in blocked.values()
    )
    share = servers[POLLER]["cpu_seconds"] / seconds
    answered = all(each["answered"] for each in servers.values())
    if share < BURNS or not answered:
        why = f"the poller beside them got {share:.0%} of a core only; try again on a quieter one"
        return [Finding("K4", NOT_MEASURED, why if answered else "one of them did not answer")]
    most = max(each["cpu_seconds"] for each in blocked.values())
    key = (
        f"in {seconds:.1f} s, those blocked in {', '.join(blocked)} used {most * 1000:.0f} ms of "
        f"CPU, {'always' if slept else 'not always'} in state S, and answered when asked; the "
        f"poller beside them used {share:.0%} of a core"
    )
    scope = "A process blocks itself: it sleeps in a call of its own, once, and is woken by data."
    return [Finding("K4", verdict(slept), key, scope)]


def figures(numbers: Numbers) -> Sequence[Chart]:
    """CPU by server."""
    servers = numbers["servers"]
    rows = {name: each["cpu_seconds"] * 1000 for name, each in servers.items()}
    more = {
        "in state S": [f"{each['sleeping']:.0%}" for each in servers.values()],
        "sleeps in": [each["where"] or "–" for each in servers.values()],
    }
    text = f"CPU time in {numbers['seconds']:.1f} s in which nothing came; ticks are 10 ms."
    return [bars("k4-cpu", "CPU used by waiting", text, rows, "ms of CPU", more)]


EXPERIMENT = Experiment(
    claims={"K4": "A blocked process uses no CPU; blocking is an act of its own."},
    title="Waiting costs nothing",
    method="Servers blocked in accept, recv and epoll_wait are watched by /proc while nothing "
    "comes, beside one that asks in a loop; then each is asked, and answers.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=30, cpu_seconds=30),
)
