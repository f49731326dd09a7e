"""Several threads sharing one epoll instance, edge-triggered and one-shot (E13).

Without EPOLLONESHOT, a second thread could be woken for a connection that the first is still
serving, and responses would be interleaved or lost. With it, an event disarms the descriptor, so
exactly one thread owns the connection until that thread rearms it: one epoll_ctl per wait. Timers
and deadlines belong to no descriptor, so a lock guards them.

The owning thread holds the connection's lock; the deadline sweep skips locked connections. CPython
runs Python code in one thread at a time, so only system calls overlap.
"""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Final

from servers.common.connection import AGAIN, Connection
from servers.common.event_server import EventServer
from servers.common.session import READ, WAIT, WRITE
from servers.common.spec import Options, Spec

SPEC: Final = Spec(
    name="epoll-oneshot",
    title="several threads on one epoll, one-shot",
    family="multiplexing",
    processes="one",
    threads="N that serve, plus one timekeeper",
    multiplexer="epoll",
    mode="edge, oneshot",
    model=(
        "N threads sleep in epoll_wait on the same epoll instance.",
        "An event disarms its descriptor, so one thread owns the connection",
        "until it rearms the descriptor with epoll_ctl.",
    ),
    sleeps=(
        "in epoll_wait(2), N threads",
        "nowhere: recv copies immediately",
    ),
    good="languages with parallel threads; handlers that release the GIL",
    bad="CPython: threads take turns, and each wait costs an extra epoll_ctl",
    neighbours=("epoll-et", "epoll-exclusive", "thread-pool"),
    source="servers/multiplexing/epoll_oneshot.py",
    limits=("only one thread runs Python code at a time (GIL)",),
    claims=("E13",),
    target="servers.multiplexing.epoll_oneshot:EpollOneshot",
)


_ONESHOT = select.EPOLLET | select.EPOLLONESHOT
_ARMED = {
    READ: select.EPOLLIN | select.EPOLLRDHUP | _ONESHOT,
    WRITE: select.EPOLLOUT | _ONESHOT,
    WAIT: 0,
    AGAIN: select.EPOLLOUT | _ONESHOT,
}


class EpollOneshot(EventServer):
    """The server; N threads run the same round."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        super().__init__(listener, options)
        self._count = options.workers
        self._guard = threading.RLock()  # guards shared state: timers, limits, the sweep
        self._owners: dict[Connection, threading.Lock] = {}

    def _open(self) -> None:
        self._epoll = select.epoll()
        self._epoll.register(self._waker.fileno(), select.EPOLLIN)
        self._epoll.register(self._listener.fileno(), 0)
        self._ended = False

    def run(self) -> None:
        """Serve with N threads until stopped; this one keeps the time."""
        self._waker.wake_on_signals()
        self._open()
        threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self._count)]
        for thread in threads:
            thread.start()
        while (timeout := self._guarded_tick()) is not None:
            self._waker.rest(timeout)
        self._ended = True
        for thread in threads:
            thread.join()

    def _guarded_tick(self) -> float | None:
        with self._guard:
            return self._tick(time.monotonic())

    def _serve(self) -> None:
        """Run one thread: wait for an event, own the connection, rearm its descriptor."""
        while not self._ended:
            for fd, _event in self._epoll.poll(0.5, 1):
                now = time.monotonic()
                connection = self._connections.get(fd)
                if connection is not None:
                    self._own(connection, now)
                elif fd == self._listener.fileno():
                    self._take_clients(now)

    def _round(self, timeout: float) -> float:
        """Not used: the threads wait."""
        raise NotImplementedError

    def _own(self, connection: Connection, now: float) -> None:
        owner = self._owners.get(connection)
        if owner is None:
            return  # closed in the meantime
        with owner:
            if self._is_open(connection) and connection.session.need != WAIT:
                connection.read(now)
                self._settle(connection, now)

    def _take_clients(self, now: float) -> None:
        with self._guard:
            if self._listening:
                self._accept(now)
                self._listen(wanted=True)
                if len(self._connections) >= self._limit or self._rest_until > now:
                    self._waker.wake()  # the timekeeper decides when to listen again

    def _admit(self, sock: socket.socket, now: float) -> None:
        connection = Connection(sock, now)
        self._owners[connection] = threading.Lock()
        self._connections[connection.fd] = connection
        self._watch(connection, READ)

    def _listen(self, *, wanted: bool) -> None:
        interest = select.EPOLLIN | select.EPOLLONESHOT if wanted else 0
        self._epoll.modify(self._listener.fileno(), interest)

    def _watch(self, connection: Connection, need: int) -> None:
        if connection.interest < 0:
            connection.interest = 0
            self._epoll.register(connection.fd, _ARMED[need])
        elif need != WAIT:  # it is disarmed already
            self._epoll.modify(connection.fd, _ARMED[need])

    def _settle(self, connection: Connection, now: float) -> None:
        """As in the base class, but wake the timekeeper for a new timer: it may expire sooner."""
        need = connection.work(now)
        if need == WAIT:
            with self._guard:
                self._add_pause(connection)
            self._waker.wake()
        elif need in (READ, WRITE, AGAIN):
            self._watch(connection, need)
        else:
            self._drop(connection)

    def _expire(self, connection: Connection, now: float) -> None:
        with self._unless_owned(connection) as free:
            if free and connection.session.deadline <= now:
                super()._expire(connection, now)

    def _drain(self, connection: Connection, now: float) -> None:
        with self._unless_owned(connection) as free:
            if free or now >= self._ends_at:
                super()._drain(connection, now)

    @contextlib.contextmanager
    def _unless_owned(self, connection: Connection) -> Iterator[bool]:
        owner = self._owners[connection]
        free = owner.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                owner.release()

    def _drop(self, connection: Connection) -> None:
        with self._guard:
            super()._drop(connection)
            self._owners.pop(connection, None)

    def _forget(self, connection: Connection) -> None:
        self._epoll.unregister(connection.fd)

    def close(self) -> None:
        """Close everything."""
        super().close()
        if hasattr(self, "_epoll"):
            self._epoll.close()
