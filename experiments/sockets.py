"""Real TCP connections over the loopback for the experiments, and the certainty that data came.

No experiment sleeps until something has surely arrived: it waits until the kernel says so.
"""

import array
import fcntl
import select
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

PATIENCE: Final = 10.0
"""Seconds after which what the loopback was given has not come, and will not."""

_AT_HANGUP: Final = """
import select, socket, sys
address, count = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
held = []
for number in range(count):
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: ports are per address
    client.bind((f"127.0.0.{1 + number % 4}", 0))
    client.connect(address)
    held.append(client)
sys.stdin.read()  # until the experiment lets go, or is gone
"""


@contextmanager
def pairs(count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Yield (server's end, client's end) of connections; both in this process, both blocking."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=count))
        made = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(listener.getsockname()))
            server = stack.enter_context(listener.accept()[0])
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.append((server, client))
        yield made


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield the two ends of one connection: the server's, the client's."""
    with pairs(1) as made:
        yield made[0]


class Idle:
    """Connections on which nothing comes: `accept` takes more, up to `most`.

    Their clients live in a process of their own, so that each costs one descriptor here.
    """

    def __init__(self, listener: socket.socket, clients: "subprocess.Popen[bytes]") -> None:
        self._listener = listener
        self._clients = clients
        self.connections: list[socket.socket] = []

    def accept(self, count: int) -> list[socket.socket]:
        """Accept until there are `count` in all; return those that are new."""
        fresh: list[socket.socket] = []
        while len(self.connections) + len(fresh) < count:
            if not select.select([self._listener], [], [], PATIENCE)[0]:
                raise TimeoutError(f"no client came; exit code {self._clients.poll()}")
            fresh.append(self._listener.accept()[0])
        self.connections += fresh
        return fresh


@contextmanager
def idle(most: int) -> Iterator[Idle]:
    """Yield connections that stay silent; at the end all are reset, so that no TIME_WAIT stays."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        host, port = listener.getsockname()
        command = [sys.executable, "-Sc", _AT_HANGUP, host, str(port), str(most)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as clients:
            found = Idle(listener, clients)
            try:
                yield found
            finally:
                for each in found.connections:
                    reset(each)
                clients.kill()


def reset(sock: socket.socket) -> None:
    """Close a connection at once, by a reset: the peer sees ECONNRESET, nothing lingers."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def unread(sock: socket.socket) -> int:
    """Return how many bytes lie in the kernel, ready to be read (FIONREAD)."""
    count = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, count)
    return count[0]


def await_bytes(sock: socket.socket, count: int, patience: float = PATIENCE) -> None:
    """Return when `count` bytes lie ready; TimeoutError after `patience` seconds."""
    deadline = time.monotonic() + patience
    while (there := unread(sock)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{there} of {count} bytes came")
        time.sleep(0.0005)


def used_descriptors() -> int:
    """Return how many descriptors this process has open, the one used for looking not counted."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1
