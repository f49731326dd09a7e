"""One readiness loop over three pollers: select, poll, level-triggered epoll (M3, E1-E4).

The process sleeps in the poller for all connections at once, then makes calls that do not block.
This costs one call more per request than a blocking server (M4), and pays off as soon as there is
more than one connection. A CPU-bound handler stalls every connection; a waiting one stalls none.

select cannot watch descriptors of 1,024 and above: such a connection gets 503.
"""

import socket
import time
from typing import ClassVar

from servers.common.connection import Connection
from servers.common.event_server import EventServer, log
from servers.common.session import READ, WAIT, WRITE
from servers.multiplexing.pollers import READABLE, WRITABLE, Poller

_INTEREST = {READ: READABLE, WRITE: WRITABLE, WAIT: 0}


class Readiness(EventServer):
    """The loop; a subclass chooses the poller."""

    poller: ClassVar[type[Poller]]

    def _open(self) -> None:
        self._poller = self.poller()
        self._poller.register(self._waker.fileno(), READABLE)
        self._poller.register(self._listener.fileno(), 0)

    def _listen(self, *, wanted: bool) -> None:
        self._poller.modify(self._listener.fileno(), READABLE if wanted else 0)

    def _admit(self, sock: socket.socket, now: float) -> None:
        limit = self._poller.limit
        if limit is not None and sock.fileno() >= limit:
            log.warning("descriptor %d does not fit into the poller: 503", sock.fileno())
            refuse_busy(sock)
        else:
            super()._admit(sock, now)

    def _watch(self, connection: Connection, need: int) -> None:
        interest = _INTEREST[need]
        if connection.interest == interest:
            return
        if connection.interest < 0:
            self._poller.register(connection.fd, interest)
        else:
            self._poller.modify(connection.fd, interest)
        connection.interest = interest

    def _forget(self, connection: Connection) -> None:
        self._poller.unregister(connection.fd)

    def _round(self, timeout: float) -> float:
        ready = self._poller.wait(timeout)
        now = time.monotonic()
        connections = self._connections
        for fd, readiness in ready:
            connection = connections.get(fd)
            if connection is None:
                self._serve_own(fd, now)
                continue
            if readiness & connection.interest & READABLE:
                connection.read(now)
            elif not readiness & connection.interest:  # broken while the application waits
                self._drop(connection)
                continue
            self._settle(connection, now)
        return now

    def _serve_own(self, fd: int, now: float) -> None:
        if fd == self._waker.fileno():
            self._waker.count()
        elif self._listening and fd == self._listener.fileno():
            self._accept(now)

    def close(self) -> None:
        """Close everything."""
        super().close()
        if hasattr(self, "_poller"):
            self._poller.close()


def refuse_busy(sock: socket.socket) -> None:
    """Send 503 without waiting, and close."""
    sock.setblocking(False)
    try:
        sock.send(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
            b"Retry-After: 1\r\nConnection: close\r\n\r\n"
        )
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    sock.close()
