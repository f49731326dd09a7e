"""epoll, edge-triggered: the kernel reports once that something came, not that it is there (E10).

Fewer reports for the same traffic (E12), and interest is registered once, for reading and writing
together: no epoll_ctl per change. In exchange the server must take everything until EAGAIN, or it
will not hear of the rest; and it must not let one fast client keep it doing so while others starve
(E11). So each connection gets one read a turn, and one that may have more goes to the end of a
queue of our own, which is served before the kernel is waited for.
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
        "The kernel reports once that something has come.",
        "The server notes it and reads until EAGAIN, a read a turn, so that nobody",
        "starves; only when all it knows of is drained does it sleep again.",
        "Interest is registered once, for reading and writing together.",
    ),
    sleeps=("in epoll_wait(2), for all connections at once", "nowhere: recv copies at once"),
    good="busy connections: fewer reports, no epoll_ctl between them",
    bad="code that forgets to drain: the connection hangs for ever",
    neighbours=("epoll-lt", "epoll-oneshot"),
    source="servers/multiplexing/epoll_et.py",
    limits=("a handler that computes holds up everybody",),
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
        self._readable: set[Connection] = set()  # an edge came, EAGAIN has not been seen since
        self._closing: set[Connection] = set()  # the peer has closed: readable to the end
        self._queue: deque[Connection] = deque()  # readable, and the session wants to read

    def _listen(self, *, wanted: bool) -> None:
        """Level-triggered: who waits in the backlog is reported again when there is room."""
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
        """Read once; a read that was not filled has emptied the socket, as EAGAIN says."""
        if connection not in self._readable:
            return  # closed meanwhile
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
