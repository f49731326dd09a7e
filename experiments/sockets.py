"""Real TCP connections over the loopback for the experiments, and waiting for data to arrive.

No experiment sleeps for a guessed time until data has arrived: it waits until the kernel says so.
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
"""Seconds after which data sent over the loopback counts as lost."""

_IDLE_CLIENTS: Final = """
import select, socket, sys
address, count = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
held = []
for number in range(count):
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: port chosen at connect
    client.bind((f"127.0.0.{1 + number % 4}", 0))
    client.connect(address)
    held.append(client)
sys.stdin.read()  # until the experiment closes the pipe or dies
"""


@contextmanager
def pairs(count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Yield (server's end, client's end) of each connection; both are blocking, in this process."""
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
    """Silent connections; `accept` takes more, up to `most`.

    The clients live in another process, so that each connection costs one descriptor here.
    """

    def __init__(self, listener: socket.socket, clients: "subprocess.Popen[bytes]") -> None:
        self._listener = listener
        self._clients = clients
        self.connections: list[socket.socket] = []

    def accept(self, count: int) -> list[socket.socket]:
        """Accept until there are `count` in total; return the new ones."""
        fresh: list[socket.socket] = []
        while len(self.connections) + len(fresh) < count:
            if not select.select([self._listener], [], [], PATIENCE)[0]:
                raise TimeoutError(
                    f"no client connected; exit code of the clients: {self._clients.poll()}"
                )
            fresh.append(self._listener.accept()[0])
        self.connections += fresh
        return fresh


@contextmanager
def idle(most: int) -> Iterator[Idle]:
    """Yield silent connections; reset them all at the end, so that none stays in TIME_WAIT."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        host, port = listener.getsockname()
        command = [sys.executable, "-Sc", _IDLE_CLIENTS, host, str(port), str(most)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as clients:
            found = Idle(listener, clients)
            try:
                yield found
            finally:
                for each in found.connections:
                    reset(each)
                clients.kill()


def reset(sock: socket.socket) -> None:
    """Close a connection with a reset: the peer sees ECONNRESET, no TIME_WAIT remains."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # on, 0 s
    sock.close()


def unread(sock: socket.socket) -> int:
    """Return how many bytes are ready to be read (FIONREAD)."""
    count = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, count)
    return count[0]


def await_bytes(sock: socket.socket, count: int, patience: float = PATIENCE) -> None:
    """Wait until `count` bytes are ready; TimeoutError after `patience` seconds."""
    deadline = time.monotonic() + patience
    while (there := unread(sock)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {there} of {count} bytes arrived within {patience:g} s")
        time.sleep(0.0005)


def used_descriptors() -> int:
    """Return how many descriptors are open, without the one used for counting."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1
