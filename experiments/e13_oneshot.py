"""E13: with several threads on one epoll, ONESHOT gives a connection to one of them at a time.

Each message comes in two halves, the second while a thread has the first in hand. Level-triggered,
the first half alone is reported to whoever asks, until it is read. Edge-triggered, the second half
is a new edge, which another thread is woken for. Then two threads hold one connection: whose half
is whose? A oneshot report disarms the descriptor; nobody hears of it until its thread, done, arms
it again by epoll_ctl(2).

"In hand" is made long enough by waiting for the second half to be there (and a moment for others to
be woken): that is what a slow handler meets, made certain.
"""

import select
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Final

from chainlab.pages.charts import Chart
from experiments import drawing
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.sockets import PATIENCE, await_bytes, pairs

THREADS: Final = 4
CONNECTIONS: Final = 4
MESSAGES: Final = 10
"""On each connection."""

HALF: Final = b"half"
MOMENT: Final = 0.002
"""Seconds that a handler goes on once both halves have come: thirty times what a wake-up takes."""

MODES: Final = {
    "level": 0,
    "edge": select.EPOLLET,
    "oneshot": select.EPOLLET | select.EPOLLONESHOT,
}


class Pool:
    """Threads that wait on one epoll, and what they did."""

    def __init__(self, servers: list[socket.socket], flags: int) -> None:
        self._flags = flags
        self._servers = {server.fileno(): server for server in servers}
        self._lock = threading.Lock()
        self._holders = dict.fromkeys(self._servers, 0)
        self._got = dict.fromkeys(self._servers, 0)
        self._ended = False
        self.handled = self.double = self.rearmed = self.empty = 0

    def run(self) -> None:
        """Serve until every message was answered; at most PATIENCE seconds for each round."""
        with select.epoll() as self._epoll:
            for fd in self._servers:
                self._epoll.register(fd, select.EPOLLIN | self._flags)
            threads = [threading.Thread(target=self._serve) for _ in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def stop(self) -> None:
        """Have the threads end."""
        self._ended = True

    def _serve(self) -> None:
        while not self._ended:
            for fd, _ in self._epoll.poll(0.05, 1):
                with self._lock:
                    self.handled += 1
                    self._holders[fd] += 1
                    self.double += self._holders[fd] > 1
                self._handle(fd)
                with self._lock:
                    self._holders[fd] -= 1
                    if self._flags & select.EPOLLONESHOT:
                        self._epoll.modify(fd, select.EPOLLIN | self._flags)
                        self.rearmed += 1

    def _handle(self, fd: int) -> None:
        """Take both halves when they are there, and answer; another one may have been faster."""
        server = self._servers[fd]
        with suppress(TimeoutError):
            await_bytes(server, 2 * len(HALF), patience=MOMENT)
        time.sleep(MOMENT)
        with self._lock:
            try:
                self._got[fd] += len(server.recv(4096))
            except BlockingIOError:
                self.empty += 1
            if self._got[fd] == 2 * len(HALF):
                self._got[fd] = 0
                server.send(b".")


def measure(_limits: Limits) -> Numbers:
    """Count in each mode how often a thread was given a connection that another one held."""
    modes = {name: _run(flags) for name, flags in MODES.items()}
    return {
        "threads": THREADS,
        "messages": CONNECTIONS * MESSAGES,
        "modes": modes,
        "alone": _alone(),
    }


def _alone() -> dict[str, int]:
    """One thread, one connection: reports of data, of more data, and after arming it again."""
    with pairs(1) as ((server, client),), select.epoll() as epoll:
        epoll.register(server, select.EPOLLIN | select.EPOLLONESHOT)
        client.sendall(HALF)
        await_bytes(server, len(HALF))
        first = len(epoll.poll(0))
        client.sendall(HALF)
        await_bytes(server, 2 * len(HALF))
        more = len(epoll.poll(0))
        epoll.modify(server, select.EPOLLIN | select.EPOLLONESHOT)
        return {"first": first, "more": more, "armed_again": len(epoll.poll(0))}


def _run(flags: int) -> dict[str, Any]:
    with pairs(CONNECTIONS) as made:
        for server, client in made:
            server.setblocking(False)
            client.settimeout(PATIENCE)
        pool = Pool([server for server, _ in made], flags)
        threads = threading.Thread(target=pool.run)
        threads.start()
        try:
            _talk([client for _, client in made])
        finally:
            pool.stop()
            threads.join()
        return {
            "reports": pool.handled,
            "double": pool.double,
            "found_nothing": pool.empty,
            "rearmed": pool.rearmed,
        }


def _talk(clients: list[socket.socket]) -> None:
    """Send a message in two halves on each connection, await the answers; again and again."""
    for _ in range(MESSAGES):
        for client in clients:
            client.sendall(HALF)
        time.sleep(MOMENT / 2)
        for client in clients:
            client.sendall(HALF)
        for client in clients:
            client.recv(1)


def judge(numbers: Numbers) -> list[Finding]:
    """It reports once until armed again; and what for: with it no connection is held by two.

    No threshold: without ONESHOT that happened at least once, with it never.
    """
    modes, alone = numbers["modes"], numbers["alone"]
    without = {name: modes[name]["double"] for name in ("level", "edge")}
    oneshot = modes["oneshot"]
    once = (alone["first"], alone["more"], alone["armed_again"]) == (1, 0, 1)
    disarms = once and oneshot["double"] == 0 and oneshot["rearmed"] > 0
    key = (
        f"reports of data: {alone['first']}, of more data: {alone['more']}, after arming again: "
        f"{alone['armed_again']}; {numbers['messages']} messages to {numbers['threads']} threads: "
        f"two held one connection {without['level']} times level-triggered, {without['edge']} "
        f"edge-triggered, {oneshot['double']} with ONESHOT"
    )
    return [Finding("E13", verdict(disarms and all(without.values())), key)]


def figures(numbers: Numbers) -> list[Chart]:
    """Draw reports that found the connection free, and those that found it taken."""
    names = {"level": "level", "edge": "edge", "oneshot": "edge, oneshot"}
    rows = {
        names[name]: {
            "nobody had it": mode["reports"] - mode["double"],
            "another thread had it": mode["double"],
        }
        for name, mode in numbers["modes"].items()
    }
    text = (
        f"Reports for {numbers['messages']} messages that come in two halves, to "
        f"{numbers['threads']} threads on one epoll."
    )
    return [drawing.bars("e13-double", "Who is given a connection", text, rows, "reports")]


EXPERIMENT = Experiment(
    claims={
        "E13": "ONESHOT disarms a descriptor after one event; it must be armed again to hear more."
    },
    title="Oneshot and threads",
    method=f"{THREADS} threads wait on one epoll for {CONNECTIONS} connections, whose messages "
    "come in two halves. Counted is how often a thread is given a connection that another one is "
    "handling: level-triggered, edge-triggered, and with EPOLLONESHOT.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=30, cpu_seconds=20),
)
