"""POSIX AIO (M6): an asynchronous interface on top of blocking C library threads.

aio_read returns at once; the loop sleeps in aio_suspend for all operations, and a completed read
has already been copied. The kernel is not involved: one thread sleeps in read for each silent
client, so the cost is that of one thread per connection plus an extra context switch. There is no
aio_accept; a thread of ours accepts and wakes the loop through the pipe that the loop reads.
"""

import os
import socket
import threading
import time
from collections import deque
from typing import Final

from servers.asynchronous import aio
from servers.asynchronous.aio import Operation
from servers.blocking.serve import accept, make_blocking
from servers.common.connection import Connection
from servers.common.event_server import EventServer
from servers.common.session import CLOSE, READ, SENDFILE, SHUTDOWN, WAIT, WRITE
from servers.common.spec import Options, Spec

SPEC: Final = Spec(
    name="posix-aio",
    title="aio_read and aio_write, on C library threads",
    family="asynchronous",
    processes="one",
    threads="one, plus a C library thread per operation in flight",
    multiplexer="aio_suspend",
    mode="completion",
    model=(
        "aio_read returns immediately; a C library thread sleeps in read for it.",
        "aio_suspend sleeps until an operation completes; the server then scans the list.",
        "The interface is asynchronous; its implementation blocks.",
    ),
    sleeps=("in aio_suspend(3); a library thread sleeps in recv", "a library thread copies"),
    good="showing that an asynchronous interface can hide a blocking mechanism",
    bad="sockets: a thread per silent client, and a context switch per read",
    neighbours=("io-uring", "thread-pool"),
    source="servers/asynchronous/posix_aio.py",
    limits=("at most 256 connections: each occupies a thread",),
    claims=("M6",),
    target="servers.asynchronous.posix_aio:PosixAio",
)


_CONNECTIONS = 256
_PIECE = 16384  # bytes of one read


class PosixAio(EventServer):
    """The server."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        super().__init__(listener, options)
        self._limit = min(self._limit, _CONNECTIONS)
        self._operations: dict[Connection, Operation] = {}  # in flight, one per connection
        self._accepted: deque[socket.socket] = deque()
        self._wanted = threading.Event()

    def _open(self) -> None:
        aio.use_threads(self._limit + 1)
        make_blocking(self._listener)
        os.set_blocking(self._waker.fileno(), True)  # a library thread blocks reading it
        self._woken = Operation.read(self._waker.fileno(), 4096)
        self._acceptor = threading.Thread(target=self._accept_clients, daemon=True)
        self._acceptor.start()

    def _accept_clients(self) -> None:
        while not self._stopping:
            if self._wanted.wait(0.5) and (sock := accept(self._listener)) is not None:
                self._accepted.append(sock)
                self._waker.wake()

    def _listen(self, *, wanted: bool) -> None:
        (self._wanted.set if wanted else self._wanted.clear)()

    def _watch(self, connection: Connection, need: int) -> None:
        """Start a read; `_settle` starts everything else."""
        if need == READ and connection not in self._operations:
            self._operations[connection] = Operation.read(connection.fd, _PIECE)

    def _forget(self, connection: Connection) -> None:
        """Do nothing: `_drop` waits for the operation in flight."""

    def _admit(self, sock: socket.socket, now: float) -> None:
        connection = Connection(sock, now)
        sock.setblocking(True)  # else the library thread's read would fail with EAGAIN
        self._connections[connection.fd] = connection
        self._watch(connection, READ)

    def _round(self, timeout: float) -> float:
        aio.suspend([self._woken, *self._operations.values()], timeout)
        now = time.monotonic()
        if self._woken.done:
            self._woken.result()
            self._woken = Operation.read(self._waker.fileno(), 4096)
            while self._accepted:
                self._admit(self._accepted.popleft(), now)
        for connection, operation in list(self._operations.items()):
            if operation.done:
                del self._operations[connection]
                self._on_done(connection, operation, now)
        return now

    def _on_done(self, connection: Connection, operation: Operation, now: float) -> None:
        count = operation.result()
        session = connection.session
        if not self._is_open(connection):
            connection.close()  # it was dropped while this was under way
            return
        if count < 0:
            session.need = CLOSE
        elif session.need == READ:
            session.receive(operation.received(count), now)
        elif session.need == WRITE:
            session.sent(count, now)
        self._settle(connection, now)

    def _settle(self, connection: Connection, now: float) -> None:
        """Start what the session needs next."""
        session = connection.session
        if session.need == SENDFILE:
            session.load(now)
        if session.need == SHUTDOWN:
            try:
                connection.sock.shutdown(socket.SHUT_WR)
                session.shut(now)
            except OSError:
                session.need = CLOSE
        if session.need == READ:
            self._watch(connection, READ)
        elif session.need == WRITE and connection not in self._operations:
            data = bytes(session.output)
            self._operations[connection] = Operation.write(connection.fd, data)
        elif session.need == WAIT:
            self._add_pause(connection)
        elif session.need == CLOSE:
            self._drop(connection)

    def _expire(self, connection: Connection, now: float) -> None:
        """Close: a 408 would wait behind the operation in flight."""
        del now
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """Close once operations in flight have ended: they could act on a reused descriptor."""
        if connection not in self._operations:
            super()._drop(connection)
            return
        self._connections.pop(connection.fd, None)
        connection.session.close()
        _shut_down(connection.sock)

    def close(self) -> None:
        """Close everything; operations in flight first, because they write into our memory."""
        self._stopping = True
        if hasattr(self, "_acceptor"):
            self._acceptor.join()
            self._waker.wake()
            self._woken.finish()
        for connection, operation in self._operations.items():
            _shut_down(connection.sock)
            operation.finish()
            connection.close()
        super().close()


def _shut_down(sock: socket.socket) -> None:
    """Make operations in flight on `sock` end."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:  # the client was first
        pass
