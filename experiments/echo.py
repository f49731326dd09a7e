"""Small servers that send back what they get, and count: blocking, select, poll, epoll.

Each runs in processes of its own, and ends when its last client has gone. The blocking one has a
process for each connection, for it can wait for one only. What they counted comes by a pipe.
"""

import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

MESSAGE: Final = b"x" * 64
_REPORT: Final = struct.Struct("=qqqq")

Wait = Callable[[], list[int]]


@dataclass(slots=True)
class Counts:
    """What a server did, all its processes together."""

    requests: int = 0
    calls: int = 0
    """System calls, from the first request on."""
    cpu_ns: int = 0
    """While it served: without start and accept."""
    processes: int = 0


class Echo:
    """A running server."""

    def __init__(self, pid: int, address: tuple[str, int], reader: int) -> None:
        self.pid = pid
        self.address = address
        self._reader = reader

    def connect(self, count: int) -> list[socket.socket]:
        """Return that many connections, each served already: it was asked once, and answered."""
        clients = [socket.create_connection(self.address, timeout=30) for _ in range(count)]
        ask(clients, 1)
        return clients

    def counts(self) -> Counts:
        """Return what was counted; once its clients have gone."""
        found = Counts()
        while report := os.read(self._reader, _REPORT.size):
            requests, calls, cpu_ns, _ = _REPORT.unpack(report)
            found.requests += requests
            found.calls += calls
            found.cpu_ns += cpu_ns
            found.processes += 1
        return found


def ask(clients: list[socket.socket], rounds: int) -> None:
    """Ask on all connections at once, and take all answers; again and again."""
    for _ in range(rounds):
        for client in clients:
            client.send(MESSAGE)
        for client in clients:
            if len(client.recv(len(MESSAGE))) != len(MESSAGE):
                raise ConnectionError("a server did not send back what it got")


@contextmanager
def serving(kind: str, connections: int) -> Iterator[Echo]:
    """Start a server of a kind (KINDS) that takes `connections`, then serves them until they go."""
    reader, writer = os.pipe()
    with socket.create_server(("127.0.0.1", 0), backlog=connections) as listener:
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reader)
                KINDS[kind](listener, connections, writer)
            finally:
                os._exit(0)
        os.close(writer)
        try:
            yield Echo(pid, listener.getsockname(), reader)
        finally:
            os.close(reader)
            os.kill(pid, signal.SIGKILL)  # it has ended, unless something went wrong
            os.waitpid(pid, 0)


def _blocking(listener: socket.socket, connections: int, writer: int) -> None:
    """A process for each connection."""
    children = []
    for _ in range(connections):
        connection, _ = listener.accept()
        child = os.fork()
        if child == 0:
            listener.close()
            _serve_one(connection, writer)
            os._exit(0)
        connection.close()
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def _serve_one(connection: socket.socket, writer: int) -> None:
    counts = Counts()
    receive, send = connection.recv, connection.send
    send(receive(64))
    cpu = time.process_time_ns()
    while True:
        data = receive(64)
        counts.calls += 1
        if not data:
            break
        send(data)
        counts.calls += 1
        counts.requests += 1
    _report(writer, counts, time.process_time_ns() - cpu)


def _multiplexed(
    listener: socket.socket, connections: int, writer: int,
    make_wait: Callable[[dict[int, socket.socket]], Wait],
) -> None:  # fmt: skip
    """One process: it sleeps in one call for all, then serves those that are ready."""
    served = {}
    for _ in range(connections):
        connection, _ = listener.accept()
        served[connection.fileno()] = connection
        connection.send(connection.recv(64))
    wait = make_wait(served)
    counts = Counts()
    cpu = time.process_time_ns()
    while served:
        ready = wait()
        counts.calls += 1
        for fd in ready:
            data = served[fd].recv(64)
            counts.calls += 1
            if not data:
                del served[fd]  # closed: select's list has it no more, poll and epoll drop it
                continue
            served[fd].send(data)
            counts.calls += 1
            counts.requests += 1
    _report(writer, counts, time.process_time_ns() - cpu)


def _select(served: dict[int, socket.socket]) -> Wait:
    return lambda: select.select(list(served), [], [])[0]


def _poll(served: dict[int, socket.socket]) -> Wait:
    poller = select.poll()
    for fd in served:
        poller.register(fd, select.POLLIN)
    return lambda: _alive(poller, served)


def _alive(poller: "select.poll", served: dict[int, socket.socket]) -> list[int]:
    found = [fd for fd, _ in poller.poll()]
    for fd in [fd for fd in found if fd not in served]:
        poller.unregister(fd)
    return [fd for fd in found if fd in served]


def _epoll(served: dict[int, socket.socket]) -> Wait:
    poller = select.epoll()
    for fd in served:
        poller.register(fd, select.EPOLLIN)
    return lambda: [fd for fd, _ in poller.poll(maxevents=len(served) or 1)]


def _report(writer: int, counts: Counts, cpu_ns: int) -> None:
    os.write(writer, _REPORT.pack(counts.requests, counts.calls, cpu_ns, 0))


KINDS: Final[dict[str, Callable[[socket.socket, int, int], None]]] = {
    "blocking": _blocking,
    "select": lambda listener, count, writer: _multiplexed(listener, count, writer, _select),
    "poll": lambda listener, count, writer: _multiplexed(listener, count, writer, _poll),
    "epoll": lambda listener, count, writer: _multiplexed(listener, count, writer, _epoll),
}
"""In the order of the notes."""
