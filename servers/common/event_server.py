"""The base of the event-driven servers: accepting, limits, pauses, deadlines, graceful stop.

A subclass waits for events. It calls `_accept` when the listener is ready and `_settle` after a
connection has made progress; `run` calls `_tick` once per round. The base calls `_watch` to change
what a connection waits for, and `_listen` to watch the listener or not.

At the limit of connections or descriptors (EMFILE), the listener is not watched: a level-triggered
poller would wake the loop over and over for a connection that cannot be accepted. Further clients
wait in the kernel's backlog.
"""

import logging
import resource
import socket
import time
from abc import ABC, abstractmethod
from typing import Final

from servers.common.connection import AGAIN, Connection
from servers.common.session import CLOSE, READ, WAIT, WRITE
from servers.common.spec import Options
from servers.common.stopping import GRACE, Waker
from servers.common.timers import Timers

log = logging.getLogger("servers")

_SWEEP: Final = 0.5  # seconds between checks of all deadlines
_REST: Final = 0.1  # seconds without accepting after EMFILE
_SPARE: Final = 32  # descriptors reserved for files, pollers and the interpreter
_BATCH: Final = 64  # connections accepted per round


class EventServer(ABC):
    """A server that handles many connections in one thread."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._limit = min(options.connections, descriptor_limit())
        self._waker = Waker()
        self._connections: dict[int, Connection] = {}
        self._timers = Timers[Connection]()
        self._again: dict[Connection, None] = {}  # more to send, but their turn is over
        self._listening = False
        self._rest_until = 0.0
        self._swept = 0.0
        self._stopping = False
        self._ends_at = 0.0  # when running requests are cut off; 0 while not stopping

    # For subclasses to implement

    @abstractmethod
    def _watch(self, connection: Connection, need: int) -> None:
        """Watch `connection` for READ or WRITE readiness; WAIT: for neither."""

    @abstractmethod
    def _forget(self, connection: Connection) -> None:
        """Stop watching `connection`, which is about to be closed."""

    @abstractmethod
    def _listen(self, *, wanted: bool) -> None:
        """Watch the listener, or leave new connections in the backlog."""

    # For subclasses to call

    def _accept(self, now: float) -> None:
        """Accept waiting connections, as far as the limits allow."""
        for _ in range(min(_BATCH, self._limit - len(self._connections))):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:  # EMFILE, ENFILE, ENOBUFS, ENOMEM
                self._rest(str(error.strerror), now)
                return
            self._admit(sock, now)

    def _rest(self, cause: str, now: float) -> None:
        """Stop accepting for a moment: accept would fail again at once."""
        log.warning("cannot accept, trying again in %g s: %s", _REST, cause)
        self._rest_until = now + _REST

    def _admit(self, sock: socket.socket, now: float) -> None:
        connection = Connection(sock, now)
        self._connections[connection.fd] = connection
        self._watch(connection, READ)

    def _settle(self, connection: Connection, now: float) -> None:
        """Do what is possible for `connection` now, and watch it for the rest."""
        need = connection.work(now)
        if need in (READ, WRITE):
            self._watch(connection, need)
        elif need == WAIT:
            self._add_pause(connection)
            self._watch(connection, WAIT)
        elif need == AGAIN:
            self._again[connection] = None
        else:
            self._drop(connection)

    def _add_pause(self, connection: Connection) -> None:
        """Start the timer of the application's pause, once per pause.

        An event may settle a connection that is also in `_again`; a second timer would then resume
        whatever the connection does at that time. The pause starts now, not at the start of the
        round, which may be before the request.
        """
        if not connection.pausing:
            connection.pausing = True
            self._timers.add(time.monotonic() + connection.session.pause, connection)

    def _drop(self, connection: Connection) -> None:
        if self._connections.get(connection.fd) is connection:
            del self._connections[connection.fd]
            self._forget(connection)
            connection.close()

    def _tick(self, now: float) -> float | None:
        """Do what is due; return the seconds until more is due, or None if the server has ended."""
        again, self._again = self._again, {}
        for connection in again:
            if self._is_open(connection):
                self._settle(connection, now)
        for connection in self._timers.due(now):
            if self._is_open(connection):
                connection.pausing = False
                connection.session.resume(now)
                self._settle(connection, now)
        if now >= self._swept + _SWEEP:
            self._sweep(now)
        if self._stopping and self._has_ended(now):
            return None
        wanted = (
            not self._stopping and now >= self._rest_until and len(self._connections) < self._limit
        )
        if wanted is not self._listening:
            self._listening = wanted
            self._listen(wanted=wanted)
        if self._again:
            return 0.0
        return max(0.0, self._timers.next(self._swept + _SWEEP) - now)

    def _is_open(self, connection: Connection) -> bool:
        return self._connections.get(connection.fd) is connection

    def _sweep(self, now: float) -> None:
        self._swept = now
        for connection in [c for c in self._connections.values() if c.session.deadline <= now]:
            self._expire(connection, now)

    def _expire(self, connection: Connection, now: float) -> None:
        connection.session.expire(now)
        self._settle(connection, now)

    def _has_ended(self, now: float) -> bool:
        if not self._ends_at:
            self._ends_at = now + GRACE
        for connection in list(self._connections.values()):
            self._drain(connection, now)
        return not self._connections

    def _drain(self, connection: Connection, now: float) -> None:
        connection.session.drain()
        if connection.session.need == CLOSE or now >= self._ends_at:
            self._drop(connection)

    # The interface of an architecture

    def run(self) -> None:
        """Serve until stopped."""
        self._waker.wake_on_signals()
        self._open()
        now = time.monotonic()
        while (timeout := self._tick(now)) is not None:
            now = self._round(timeout)

    @abstractmethod
    def _open(self) -> None:
        """Create what the subclass needs, just before the loop starts."""

    @abstractmethod
    def _round(self, timeout: float) -> float:
        """Wait up to `timeout` seconds, serve what is ready, and return the time."""

    def stop(self) -> None:
        """Make `run` accept no more, let running requests finish (GRACE) and return."""
        self._stopping = True
        self._waker.wake()

    def close(self) -> None:
        """Close everything, including connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._listener.close()
        self._waker.close()


def descriptor_limit() -> int:
    """Return how many connections the limit of open files allows (man getrlimit(2))."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft - _SPARE)
