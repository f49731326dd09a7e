"""E13: with several threads on one epoll, ONESHOT gives a connection to one thread at a time.

Each message arrives in two halves, the second while a thread still handles the first.
Level-triggered epoll reports the first half to every thread that asks, until it is read.
Edge-triggered epoll treats the second half as a new edge and wakes another thread. Then two threads
handle one connection, and each may get part of the message. A oneshot report disarms the
descriptor: no thread gets another report until the handling thread rearms it with epoll_ctl(2).

To make the overlap certain, the handler waits for the second half, and a moment more for other
threads to wake up, as a slow handler would.
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
"""Messages per connection."""

HALF: Final = b"half"
MOMENT: Final = 0.002
"""Seconds that a handler continues after both halves: thirty times the time of a wake-up."""

MODES: Final = {
    "level": 0,
    "edge": select.EPOLLET,
    "oneshot": select.EPOLLET | select.EPOLLONESHOT,
}


class Pool:
    """Threads that wait on one epoll, and counts of what they did."""

    def __init__(self, servers: list[socket.socket], flags: int) -> None:
        self._flags = flags
        self._servers = {server.fileno(): server for server in servers}
        self._lock = threading.Lock()
        self._holders = dict.fromkeys(self._servers, 0)
        self._got = dict.fromkeys(self._servers, 0)
        self._ended = False
        self.handled = self.double = self.rearmed = self.empty = 0

    def run(self) -> None:
        """Run the threads until `stop`."""
        with select.epoll() as self._epoll:
            for fd in self._servers:
                self._epoll.register(fd, select.EPOLLIN | self._flags)
            threads = [threading.Thread(target=self._serve) for _ in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def stop(self) -> None:
        """Tell the threads to end."""
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
        """Wait for both halves, read and answer; another thread may have read them first."""
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
    """Count in each mode how often a thread got a connection that another was handling."""
    modes = {name: _run(flags) for name, flags in MODES.items()}
    return {
        "threads": THREADS,
        "messages": CONNECTIONS * MESSAGES,
        "modes": modes,
        "alone": _alone(),
    }


def _alone() -> dict[str, int]:
    """One thread, one connection: count reports of data, of more data, and after rearming."""
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
    """In each round, send a message in two halves on each connection and await the answers."""
    for _ in range(MESSAGES):
        for client in clients:
            client.sendall(HALF)
        time.sleep(MOMENT / 2)
        for client in clients:
            client.sendall(HALF)
        for client in clients:
            client.recv(1)


def judge(numbers: Numbers) -> list[Finding]:
    """ONESHOT must report once until rearmed, and never give a connection to two threads.

    No threshold: without ONESHOT that must happen at least once, with it never.
    """
    modes, alone = numbers["modes"], numbers["alone"]
    without = {name: modes[name]["double"] for name in ("level", "edge")}
    oneshot = modes["oneshot"]
    once = (alone["first"], alone["more"], alone["armed_again"]) == (1, 0, 1)
    disarms = once and oneshot["double"] == 0 and oneshot["rearmed"] > 0
    key = (
        f"reports with ONESHOT: {alone['first']} for data, {alone['more']} for more data, "
        f"{alone['armed_again']} after rearming; with {numbers['messages']} messages and "
        f"{numbers['threads']} threads, two threads had the same connection {without['level']} "
        f"times level-triggered, {without['edge']} edge-triggered, {oneshot['double']} with "
        "ONESHOT"
    )
    return [Finding("E13", verdict(disarms and all(without.values())), key)]


def figures(numbers: Numbers) -> list[Chart]:
    """Draw the reports of free connections, and of those already being handled."""
    names = {"level": "level", "edge": "edge", "oneshot": "edge, oneshot"}
    rows = {
        names[name]: {
            "connection was free": mode["reports"] - mode["double"],
            "another thread was handling it": mode["double"],
        }
        for name, mode in numbers["modes"].items()
    }
    text = (
        f"Reports for {numbers['messages']} messages in two halves, with {numbers['threads']} "
        "threads on one epoll."
    )
    return [
        drawing.bars("e13-double", "Reports of free and of busy connections", text, rows, "reports")
    ]


EXPERIMENT = Experiment(
    claims={
        "E13": "ONESHOT disarms a descriptor after one event; it must be rearmed to report more."
    },
    title="Oneshot and threads",
    method=f"{THREADS} threads wait on one epoll for {CONNECTIONS} connections, whose messages "
    "arrive in two halves. The run counts how often a thread gets a connection that another is "
    "handling: level-triggered, edge-triggered, and with EPOLLONESHOT.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=30, cpu_seconds=20),
)
