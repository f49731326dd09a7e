"""K4: a blocked process uses no CPU, and it blocks by its own call.

Four small servers run side by side: blocked in accept(2), in recv(2), in epoll_wait(2), and one
that polls a nonblocking socket in a loop. While no data arrives, their state is read from /proc.
Then each gets a request and answers, which shows that it was waiting, not dead.
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
"""Seconds of observation: 200 ticks of CPU time."""

BURNS: Final = 0.1
"""Least share of a core for the poller: what it gets if nine others compete for the core."""

POLLER: Final = "recv in a loop"
_LOOKS: Final = 40

Serve = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True)
class Server:
    """A server and its client, which is connected unless the server waits in accept."""

    pid: int
    address: tuple[str, int]
    client: socket.socket

    def ask(self, *, connected: bool) -> bool:
        """Send a byte, or connect; return True if the server answered."""
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
    """Start the servers, observe them, then ask each."""
    started = {name: _start(name, serve) for name, serve in SERVERS.items()}
    try:
        time.sleep(0.2)  # until all are waiting; counting starts afterwards
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
    """Start a server and its client."""
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
    """Blocked servers must always sleep and use no tick; the poller shows that ticks count."""
    seconds, servers = numbers["seconds"], numbers["servers"]
    blocked = {name: each for name, each in servers.items() if name != POLLER}
    slept = all(
        each["sleeping"] == 1 and each["cpu_seconds"] == 0 and each["voluntary"] == 0
        for each in blocked.values()
    )
    share = servers[POLLER]["cpu_seconds"] / seconds
    answered = all(each["answered"] for each in servers.values())
    if share < BURNS or not answered:
        why = f"the poller got only {share:.0%} of a core; try again on a quieter machine"
        return [Finding("K4", NOT_MEASURED, why if answered else "a server did not answer")]
    most = max(each["cpu_seconds"] for each in blocked.values())
    key = (
        f"in {seconds:.1f} s, the servers blocked in {', '.join(blocked)} used "
        f"{most * 1000:.0f} ms of CPU, were {'always' if slept else 'not always'} in state S, "
        f"and answered when asked; the poller used {share:.0%} of a core"
    )
    scope = "A process blocks itself: it sleeps in a call it made and is woken once, by data."
    return [Finding("K4", verdict(slept), key, scope)]


def figures(numbers: Numbers) -> Sequence[Chart]:
    """Draw the CPU time of each server."""
    servers = numbers["servers"]
    rows = {name: each["cpu_seconds"] * 1000 for name, each in servers.items()}
    more = {
        "in state S": [f"{each['sleeping']:.0%}" for each in servers.values()],
        "sleeps in": [each["where"] or "–" for each in servers.values()],
    }
    text = f"CPU time in {numbers['seconds']:.1f} s without any data; a tick is 10 ms."
    return [bars("k4-cpu", "CPU used while waiting", text, rows, "ms of CPU", more)]


EXPERIMENT = Experiment(
    claims={"K4": "A blocked process uses no CPU; it blocks by its own act."},
    title="Waiting costs nothing",
    method="Servers blocked in accept, recv and epoll_wait, and one that polls in a loop, are "
    "watched in /proc while no data arrives; then each is asked and answers.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=30, cpu_seconds=30),
)
