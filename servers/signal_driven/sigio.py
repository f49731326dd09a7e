"""Signal-driven I/O (M5): the kernel sends a signal when a descriptor becomes ready.

Each socket has O_ASYNC, an owner (F_SETOWN) and a real-time signal (F_SETSIG, man fcntl(2)).
Unlike SIGIO, real-time signals are queued, one per event, and carry the descriptor. They are
blocked and fetched one by one with sigtimedwait, where the process sleeps; a signal handler could
run between any two lines of the program.

Facts: the queue is bounded (RLIMIT_SIGPENDING); on overflow the kernel sends a plain SIGIO and the
descriptors are lost. Like an edge, a signal says that data arrived, not that it is still there.
Decision: read until EAGAIN, also after each answer; on SIGIO check every connection. Trade-off: one
futile recv per request, and one system call per event where epoll returns many events per call.
"""

import fcntl
import os
import signal
import time
from collections import deque
from typing import Final

from servers.common.connection import Connection
from servers.common.event_server import EventServer, log
from servers.common.session import READ
from servers.common.spec import Spec

SPEC: Final = Spec(
    name="sigio",
    title="real-time signals, fetched with sigtimedwait",
    family="signal-driven",
    processes="one",
    threads="one",
    multiplexer="sigtimedwait",
    mode="edge",
    model=(
        "Each socket has O_ASYNC and a real-time signal (F_SETSIG).",
        "The kernel queues one signal per event, carrying the descriptor;",
        "sigtimedwait sleeps until the next one. On queue overflow the kernel sends",
        "a plain SIGIO: events were lost, so the server checks every connection.",
    ),
    sleeps=(
        "in sigtimedwait(2); it could do other work instead",
        "nowhere: recv copies immediately",
    ),
    good="datagrams and serial lines: few descriptors, rare events",
    bad="TCP under load: one signal, and one system call to fetch it, per event",
    neighbours=("epoll-et", "io-uring"),
    source="servers/signal_driven/sigio.py",
    limits=(
        "the signal queue is bounded (ulimit -i)",
        "a CPU-bound handler stalls every connection",
    ),
    claims=("M5",),
    target="servers.signal_driven.sigio:Sigio",
)


_READY: Final = signal.SIGRTMIN + 1
_SIGNALS: Final = frozenset((_READY, signal.SIGIO))
_MOST: Final = 512  # signals taken in one round


class Sigio(EventServer):
    """The server."""

    def _open(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._queue: deque[Connection] = deque()  # to be read: data may have arrived
        self._clients_wait = False
        self._signal_for(self._waker.fileno())
        self._signal_for(self._listener.fileno())

    def _signal_for(self, fd: int) -> None:
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETSIG, _READY)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)

    def _listen(self, *, wanted: bool) -> None:
        """Accept at once: signals of earlier arrivals were ignored."""
        self._clients_wait = wanted

    def _watch(self, connection: Connection, need: int) -> None:
        if connection.interest < 0:
            connection.interest = 0
            self._signal_for(connection.fd)
        if need == READ:
            self._queue.append(connection)

    def _forget(self, connection: Connection) -> None:
        """Do nothing: closing stops the signals, and late ones match no connection."""

    def _round(self, timeout: float) -> float:
        if self._queue or self._clients_wait:
            timeout = 0.0
        now = time.monotonic()
        for _ in range(_MOST):
            found = signal.sigtimedwait(_SIGNALS, timeout)
            if found is None:
                break
            now = time.monotonic()
            if found.si_signo == signal.SIGIO:
                self._check_all(now)
            else:
                self._on_event(found.si_status, now)  # si_fd, in siginfo_t's union
            timeout = 0.0
        now = time.monotonic()
        if self._clients_wait and self._listening:
            before = len(self._connections)
            self._accept(now)
            self._clients_wait = len(self._connections) > before  # EAGAIN has not been seen
        for _ in range(len(self._queue)):
            connection = self._queue.popleft()
            if self._is_open(connection) and connection.read(now) >= 0:
                self._settle(connection, now)
        return now

    def _on_event(self, fd: int, now: float) -> None:
        connection = self._connections.get(fd)
        if connection is None:
            if fd == self._listener.fileno():
                self._clients_wait = self._listening
            self._waker.count()
        elif connection.session.need == READ:
            self._queue.append(connection)
        elif connection.sending:
            self._settle(connection, now)

    def _check_all(self, now: float) -> None:
        """Check every connection: signals were lost, so each descriptor may be ready."""
        log.info("signal queue overflow: checking all %d connections", len(self._connections))
        self._clients_wait = self._listening
        for connection in list(self._connections.values()):
            self._on_event(connection.fd, now)
