"""Completion instead of readiness: io_uring (M6).

The server does not ask whether it may read. It submits a request once, and the data is in its
memory when the completion arrives. One multishot accept takes all connections; one multishot
receive per connection takes all its data, into buffers that the kernel picks from a pool. A single
system call submits all new requests and waits for completions, so under load there are fewer
system calls than requests. In return, the kernel owns a buffer until the operation completes, and
closing a socket does not end the operations in flight on it.
"""

import errno
import os
import socket
import time
from collections import deque
from pathlib import Path
from typing import Final

from servers.asynchronous import uring
from servers.asynchronous.uring import Completion, Ring
from servers.common.connection import Connection
from servers.common.event_server import EventServer
from servers.common.session import CLOSE, READ, SENDFILE, SHUTDOWN, WAIT, WRITE
from servers.common.spec import Spec


def _without_io_uring() -> str | None:
    """Check kernel version and sysctl; a sandbox that forbids io_uring shows only at the start."""
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    if release < (6, 0):
        return (
            f"Linux {os.uname().release} lacks multishot receive: io-uring needs Linux 6.0 or newer"
        )
    try:
        disabled = Path("/proc/sys/kernel/io_uring_disabled").read_text().strip()
    except OSError:
        disabled = "0"
    if disabled == "2" or (disabled == "1" and os.geteuid() != 0):
        return "io_uring is disabled: run sudo sysctl kernel.io_uring_disabled=0"
    return None


SPEC: Final = Spec(
    name="io-uring",
    title="completion by io_uring",
    family="asynchronous",
    processes="one",
    threads="one",
    multiplexer="io_uring_enter",
    mode="completion, multishot",
    model=(
        "Requests go into a ring in shared memory: one accept for all connections,",
        "one receive for all the data of a connection.",
        "One system call submits requests and waits for completions;",
        "by then the data is already in our memory.",
    ),
    sleeps=(
        "in io_uring_enter(2), for all connections at once",
        "nowhere: the data is already copied",
    ),
    good="many small operations: several per system call",
    bad="sandboxes: container runtimes forbid io_uring by default",
    neighbours=("epoll-et", "posix-aio"),
    source="servers/asynchronous/io_uring.py",
    limits=(
        "a CPU-bound handler stalls every connection",
        "Linux 6.0 or newer",
    ),
    claims=("M6",),
    target="servers.asynchronous.io_uring:IoUring",
    probe=_without_io_uring,
)


_RECEIVED, _SENT, _ACCEPTED, _WOKEN, _CANCELLED = range(5)  # the low bits of a token
_AHEAD = 65536  # bytes of one connection that may wait for its session
_AGAIN = -errno.ENOBUFS


class UringConnection(Connection):
    """A connection, what the kernel is doing for it, and what came before it was asked for."""

    __slots__ = ("armed", "arrived", "number")

    def __init__(self, sock: socket.socket, now: float, number: int) -> None:
        super().__init__(sock, now)
        self.number = number  # never used again, unlike a descriptor
        self.armed = False  # whether a receive is under way
        self.arrived: deque[bytes] = deque()


class IoUring(EventServer):
    """The server."""

    def _open(self) -> None:
        self._ring = Ring()
        self._numbered: dict[int, UringConnection] = {}
        self._serial = 0
        self._outgoing: dict[int, bytes] = {}  # what the kernel is sending, by number
        self._ring.prepare(uring.POLL_ADD, self._waker.fileno(), _WOKEN, options=1)  # POLLIN

    def _listen(self, *, wanted: bool) -> None:
        if wanted:
            options = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._ring.prepare(
                uring.ACCEPT, self._listener.fileno(), _ACCEPTED,
                mode=uring.ACCEPT_MULTISHOT, options=options,
            )  # fmt: skip
        else:
            self._ring.prepare(uring.CANCEL, -1, _CANCELLED, address=_ACCEPTED)

    def _watch(self, connection: Connection, need: int) -> None:
        """Do nothing: operations are submitted, not watched."""
        raise NotImplementedError

    def _forget(self, connection: Connection) -> None:
        """Cancel operations in flight: the ring keeps the socket open, so closing is not enough."""
        assert isinstance(connection, UringConnection)
        del self._numbered[connection.number]
        try:
            connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # the client was first
            pass

    def _round(self, timeout: float) -> float:
        done = self._ring.wait(timeout)
        now = time.monotonic()
        for completion in done:
            kind, number = completion.token & 7, completion.token >> 3
            connection = self._numbered.get(number)
            if kind == _RECEIVED:
                data = self._ring.take(completion)  # also of one that is closed: the buffer
                if connection is not None:
                    self._on_received(connection, completion, data, now)
            elif kind == _SENT:
                self._outgoing.pop(number, None)
                if connection is not None:
                    self._on_sent(connection, completion.result, now)
            elif kind == _ACCEPTED:
                self._on_accepted(completion, now)
        return now

    def _on_accepted(self, completion: Completion, now: float) -> None:
        if completion.result >= 0:
            family = self._listener.family
            sock = socket.socket(family, socket.SOCK_STREAM, 0, completion.result)
            self._serial += 1
            connection = UringConnection(sock, now, self._serial)
            self._connections[connection.fd] = connection
            self._numbered[connection.number] = connection
            self._settle(connection, now)
        elif completion.result != -errno.ECANCELED:
            self._rest(os.strerror(-completion.result), now)
        if not completion.flags & uring.F_MORE:
            self._listening = False  # asked again by the next tick, if it is wanted

    def _on_received(
        self, connection: UringConnection, completion: Completion, data: bytes, now: float
    ) -> None:
        if not completion.flags & uring.F_MORE:
            connection.armed = False
        if completion.result >= 0:
            connection.arrived.append(data)
        elif completion.result not in (_AGAIN, -errno.ECANCELED):  # reset
            connection.session.need = CLOSE
        if sum(map(len, connection.arrived)) > _AHEAD and connection.armed:
            token = connection.number << 3 | _RECEIVED
            self._ring.prepare(uring.CANCEL, -1, _CANCELLED, address=token)
        if connection.session.need in (READ, CLOSE):
            self._settle(connection, now)

    def _on_sent(self, connection: UringConnection, result: int, now: float) -> None:
        if result < 0:
            connection.session.need = CLOSE
        else:
            connection.session.sent(result, now)
        self._settle(connection, now)

    def _settle(self, connection: Connection, now: float) -> None:
        """Ask the kernel for what the session needs next."""
        assert isinstance(connection, UringConnection)
        session = connection.session
        while True:
            need = session.need
            if need == READ and connection.arrived:
                session.receive(connection.arrived.popleft(), now)
            elif need == READ:
                self._receive(connection)
                return
            elif need == WRITE:
                self._send(connection)
                return
            elif need == SENDFILE:
                session.load(now)
            elif need == WAIT:
                self._add_pause(connection)
                return
            elif need == SHUTDOWN:
                try:
                    connection.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    session.need = CLOSE
                else:
                    session.shut(now)
            else:
                self._drop(connection)
                return

    def _receive(self, connection: UringConnection) -> None:
        if not connection.armed:
            connection.armed = True
            self._ring.prepare(
                uring.RECV, connection.fd, connection.number << 3 | _RECEIVED,
                flags=uring.BUFFER_SELECT, mode=uring.RECV_MULTISHOT,
            )  # fmt: skip

    def _send(self, connection: UringConnection) -> None:
        if connection.number in self._outgoing:
            return  # under way
        data = self._outgoing[connection.number] = bytes(connection.session.output)
        self._ring.prepare(
            uring.SEND, connection.fd, connection.number << 3 | _SENT,
            address=uring.address_of(data), length=len(data), options=socket.MSG_NOSIGNAL,
        )  # fmt: skip

    def close(self) -> None:
        """Close everything."""
        super().close()
        if hasattr(self, "_ring"):
            self._ring.close()
