"""epoll, edge-triggered: the kernel reports that data arrived, once, not that it is there (E10).

There are fewer events for the same traffic (E12), and each descriptor is registered once for both
reading and writing, with no later epoll_ctl. In return, the server must read until EAGAIN, or the
remaining data is never reported; and one fast client must not starve the others (E11). So each
connection gets one read per turn. If more data may be pending, the connection goes to the end of a
user-space queue, which is served before the next blocking epoll_wait.
"""

import select
import time
from collections import deque
from typing import Final

from servers.common.connection import Connection
from servers.common.event_server import EventServer
from servers.common.session import READ, RECEIVE
from servers.common.spec import Spec

SPEC: Final = Spec(
    name="epoll-et",
    title="epoll, edge-triggered",
    family="multiplexing",
    processes="one",
    threads="one",
    multiplexer="epoll",
    mode="edge",
    model=(
        "The kernel reports each arrival of data once.",
        "The server reads until EAGAIN, one read per connection and turn, so that no",
        "connection starves. It sleeps only when every readable connection is drained.",
        "Each descriptor is registered once, for reading and writing.",
    ),
    sleeps=(
        "in epoll_wait(2), for all connections at once",
        "nowhere: recv copies immediately",
    ),
    good="busy connections: fewer events, no epoll_ctl in between",
    bad="code that stops reading before EAGAIN: the connection hangs",
    neighbours=("epoll-lt", "epoll-oneshot"),
    source="servers/multiplexing/epoll_et.py",
    limits=("a CPU-bound handler stalls every connection",),
    claims=("E10", "E11", "E12"),
    target="servers.multiplexing.epoll_et:EpollEdge",
)


_CLOSED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_MOST = 512  # events taken in one call


class EpollEdge(EventServer):
    """The server."""

    def _open(self) -> None:
        self._epoll = select.epoll()
        self._epoll.register(self._waker.fileno(), select.EPOLLIN)
        self._epoll.register(self._listener.fileno(), 0)
        self._readable: set[Connection] = set()  # an edge came and no EAGAIN since
        self._closing: set[Connection] = set()  # the peer has closed: readable to the end
        self._queue: deque[Connection] = deque()  # readable, and the session wants to read

    def _listen(self, *, wanted: bool) -> None:
        """Level-triggered: a nonempty backlog is reported again when there is room."""
        self._epoll.modify(self._listener.fileno(), select.EPOLLIN if wanted else 0)

    def _watch(self, connection: Connection, need: int) -> None:
        if connection.interest < 0:  # one interest for life: every edge is reported
            connection.interest = _EDGES
            self._epoll.register(connection.fd, _EDGES)
        elif need == READ and connection in self._readable:
            self._queue.append(connection)

    def _forget(self, connection: Connection) -> None:
        self._readable.discard(connection)
        self._closing.discard(connection)
        self._epoll.unregister(connection.fd)

    def _round(self, timeout: float) -> float:
        events = self._epoll.poll(0.0 if self._queue else timeout, _MOST)
        now = time.monotonic()
        for fd, event in events:
            connection = self._connections.get(fd)
            if connection is None:
                self._serve_own(fd, now)
                continue
            if event & ~select.EPOLLOUT:
                self._note_readable(connection, event)
            if connection.sending:
                self._settle(connection, now)
        for _ in range(len(self._queue)):
            self._take_turn(self._queue.popleft(), now)
        return now

    def _note_readable(self, connection: Connection, event: int) -> None:
        if event & _CLOSED:
            self._closing.add(connection)
        if connection not in self._readable:
            self._readable.add(connection)
            if connection.session.need == READ:
                self._queue.append(connection)

    def _take_turn(self, connection: Connection, now: float) -> None:
        """Read once; a short read means the socket is drained, just like EAGAIN."""
        if connection not in self._readable:
            return  # closed in the meantime
        count = connection.read(now)
        if count < RECEIVE and connection not in self._closing:
            self._readable.discard(connection)
        self._settle(connection, now)

    def _serve_own(self, fd: int, now: float) -> None:
        if fd == self._waker.fileno():
            self._waker.count()
        elif self._listening and fd == self._listener.fileno():
            self._accept(now)

    def close(self) -> None:
        """Close everything."""
        super().close()
        if hasattr(self, "_epoll"):
            self._epoll.close()
