"""Small echo servers that count their work: blocking, select, poll, epoll.

Each runs in its own processes and exits when its last client closes. The blocking server has one
process per connection, because a process can block on only one. Counts come back through a pipe.
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
    """What a server did, summed over its processes."""

    requests: int = 0
    calls: int = 0
    """System calls since the first request."""
    cpu_ns: int = 0
    """CPU time spent serving, without startup and accept."""
    processes: int = 0


class Echo:
    """A running server."""

    def __init__(self, pid: int, address: tuple[str, int], reader: int) -> None:
        self.pid = pid
        self.address = address
        self._reader = reader

    def connect(self, count: int) -> list[socket.socket]:
        """Return `count` connections, each with one request already answered."""
        clients = [socket.create_connection(self.address, timeout=30) for _ in range(count)]
        ask(clients, 1)
        return clients

    def counts(self) -> Counts:
        """Return the counts; call it after closing all clients."""
        found = Counts()
        while report := os.read(self._reader, _REPORT.size):
            requests, calls, cpu_ns, _ = _REPORT.unpack(report)
            found.requests += requests
            found.calls += calls
            found.cpu_ns += cpu_ns
            found.processes += 1
        return found


def ask(clients: list[socket.socket], rounds: int) -> None:
    """In each round, send on all connections, then receive all answers."""
    for _ in range(rounds):
        for client in clients:
            client.send(MESSAGE)
        for client in clients:
            if len(client.recv(len(MESSAGE))) != len(MESSAGE):
                raise ConnectionError("the echo server sent back something else")


@contextmanager
def serving(kind: str, connections: int) -> Iterator[Echo]:
    """Start a server of a kind (KINDS) that accepts `connections` and serves them until closed."""
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
            os.kill(pid, signal.SIGKILL)  # normally it has already exited
            os.waitpid(pid, 0)


def _blocking(listener: socket.socket, connections: int, writer: int) -> None:
    """Serve each connection in its own process."""
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
    """Serve all connections in one process that sleeps in one multiplexing call."""
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
                del served[fd]  # closed: select is no longer asked about it, poll and epoll drop it
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
"""Servers by kind, in the order of the notes."""
