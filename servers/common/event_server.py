"""What the event-driven servers share: accepting, limits, pauses, deadlines, the graceful stop.

A subclass owns the loop and the way readiness is learnt; it calls `accept` when the listener is
ready, `settle` after a connection has moved, and `tick` once a round. It says with `_watch` what
is waited for, and `_listen` whether connections are wanted at all.

At the limit of connections, or of descriptors (EMFILE), the listener is left alone: a
level-triggered one would wake the loop again and again for a connection that cannot be taken.
Those who wait, wait in the kernel's backlog.
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

_SWEEP: Final = 0.5  # seconds between two looks at all deadlines
_REST: Final = 0.1  # seconds without accepting after EMFILE
_SPARE: Final = 32  # descriptors kept for files, pollers and the interpreter
_BATCH: Final = 64  # connections accepted in one round


class EventServer(ABC):
    """A server of many connections in one thread."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._limit = min(options.connections, descriptor_limit())
        self._waker = Waker()
        self._connections: dict[int, Connection] = {}
        self._timers = Timers[Connection]()
        self._again: dict[Connection, None] = {}  # whose send budget ended before their work
        self._listening = False
        self._rest_until = 0.0
        self._swept = 0.0
        self._stopping = False
        self._ends_at = 0.0  # when running requests are cut; 0 while not stopping

    # What a model adds

    @abstractmethod
    def _watch(self, connection: Connection, need: int) -> None:
        """Wait for READ or WRITE readiness of `connection`; WAIT: for neither."""

    @abstractmethod
    def _forget(self, connection: Connection) -> None:
        """Wait for it no more: it is about to be closed."""

    @abstractmethod
    def _listen(self, *, wanted: bool) -> None:
        """Wait for connections, or leave them in the backlog."""

    # What a model calls

    def _accept(self, now: float) -> None:
        """Take the connections that wait, as far as the limits allow."""
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
        """Accept nobody for a moment: the kernel would refuse again at once."""
        log.warning("cannot accept, trying again in %g s: %s", _REST, cause)
        self._rest_until = now + _REST

    def _admit(self, sock: socket.socket, now: float) -> None:
        connection = Connection(sock, now)
        self._connections[connection.fd] = connection
        self._watch(connection, READ)

    def _settle(self, connection: Connection, now: float) -> None:
        """Do what can be done for `connection`, and wait for the rest."""
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
        """Start the timer of the application's pause, once however often it is settled.

        A connection in `_again` may be settled by an event first, and a second timer would resume
        whatever the connection does by then. The pause counts from now: the time that the round
        began with may be older than the request.
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
        """Do what is due; return the seconds until something is, None: the server has ended."""
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
        """Make what the model needs; the loop is about to begin."""

    @abstractmethod
    def _round(self, timeout: float) -> float:
        """Wait up to `timeout` seconds, serve what is ready, and return the time."""

    def stop(self) -> None:
        """Take no more connections, let running requests finish (GRACE), then return."""
        self._stopping = True
        self._waker.wake()

    def close(self) -> None:
        """Close everything, connections too."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._listener.close()
        self._waker.close()


def descriptor_limit() -> int:
    """Return how many connections the limit of open files leaves room for (man getrlimit(2))."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft - _SPARE)
