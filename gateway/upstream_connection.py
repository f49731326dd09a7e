"""A connection to a backend, independent of protocol: connect, send, receive, time out, reuse.

Every send goes straight to the socket; the loop watches for writability only while bytes are left
over. An idle connection stays registered for reading, so the gateway notices when the backend
closes it. Subclasses encode requests and decode responses.
"""

import errno
import os
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from gateway.body import HIGH
from gateway.loop import BROKEN, NEVER, READ, WRITE

if TYPE_CHECKING:
    from gateway.exchange import ProxyExchange
    from gateway.pool import Backend, Pool

_RECEIVE: Final = 65536


class UpstreamConnection(ABC):
    """A connection to `backend` that carries one exchange at a time.

    The constructor raises OSError if connecting fails immediately.
    """

    __slots__ = (
        "_answered",
        "_connected",
        "_content_ended",
        "_interest",
        "_loop",
        "_out",
        "_paused",
        "_sock",
        "_timeouts",
        "backend",
        "closed",
        "deadline",
        "exchange",
        "pool",
        "served",
    )

    def __init__(self, pool: "Pool", backend: "Backend") -> None:
        self.pool = pool
        self.backend = backend
        self.exchange: ProxyExchange | None = None
        self.closed = False
        self.served = 0  # completed exchanges
        self._loop = pool.loop
        self._timeouts = pool.config.timeouts
        self._answered = False  # a byte of the current response has arrived
        self._content_ended = True  # the whole request body has been encoded
        self._paused = False
        self._out = bytearray()
        self._sock, self._connected = open_connection(backend)
        self._loop.read_clock()
        if not self._connected:
            backend.connecting.add(self)
        self._interest = READ if self._connected else WRITE
        self.deadline = self._loop.now + self._timeouts.connect
        self._loop.register(self._sock, self._interest, self.on_event)
        self._loop.watch(self)

    # Protocol hooks

    @abstractmethod
    def _send_request(self, exchange: "ProxyExchange") -> None:
        """Send the request head and, if possible, the whole body."""

    @abstractmethod
    def _receive(self, exchange: "ProxyExchange", data: bytes) -> None:
        """Handle bytes of the response."""

    @abstractmethod
    def _receive_eof(self, exchange: "ProxyExchange") -> None:
        """Handle a close by the backend in the middle of an exchange."""

    @abstractmethod
    def _encode_content(self, data: bytes, *, last: bool) -> bytes:
        """Encode a piece of the request body."""

    @abstractmethod
    def abort(self) -> None:
        """Abort the exchange: the client is gone."""

    # An exchange

    def start(self, exchange: "ProxyExchange", assigned_at: float) -> None:
        """Send the request of `exchange` now, or as soon as the connection is established.

        `assigned_at` is when the pool chose this connection.
        """
        self.exchange = exchange
        exchange.connection = self
        exchange.assigned_at = assigned_at
        self._timeouts = exchange.plan.timeouts
        if self._connected:
            self._begin(exchange)

    def _begin(self, exchange: "ProxyExchange") -> None:
        exchange.connected_at = self._loop.now
        self._answered = False
        self._content_ended = exchange.body is None
        self.deadline = self._loop.now + self._timeouts.read
        self._send_request(exchange)
        if not self._content_ended and self.exchange is exchange:
            self.pump()

    def pump(self) -> None:
        """Forward body bytes until the body or the send buffer stops it."""
        exchange = self.exchange
        if self._content_ended or exchange is None or exchange.body is None or not self._connected:
            return
        body = exchange.body
        took = False
        while not self._content_ended and len(self._out) < HIGH and self.exchange is exchange:
            data = body.take()
            if not data and not body.drained:
                break
            self._content_ended = body.drained
            took = took or bool(data)
            self._send(self._encode_content(data, last=self._content_ended))
        if self.exchange is exchange:
            self._await_response()
            if took:
                exchange.on_content_taken()

    def _await_response(self) -> None:
        """Set the deadline for the current wait: backend reading, backend answering, or client."""
        if self._out:
            self.deadline = self._loop.now + self._timeouts.send
        elif self._content_ended:
            self.deadline = self._loop.now + self._timeouts.read
        else:
            self.deadline = NEVER  # waiting for the client, which has its own deadline

    def pause(self) -> None:
        """Stop reading the response until `resume`."""
        if not self._paused and not self.closed:
            self._paused = True
            self.deadline = NEVER
            self._watch()

    def resume(self) -> None:
        """Resume reading the response."""
        if self._paused and not self.closed:
            self._paused = False
            self._await_response()
            self._watch()

    def _done(self, *, reusable: bool) -> None:
        """Release the connection after a complete response, before the client receives it.

        The client may already have sent its next request, which should find this connection free.
        """
        if self.exchange is not None:
            self.exchange.connection = None
            self.exchange = None
        self.served += 1
        if self.served == 2:
            self.backend.short_lives = 0
        if self._paused:
            self.resume()
        if not reusable or not self._content_ended or self._out:
            self.close()
            return
        self.deadline = self._loop.now + self._timeouts.idle
        self.pool.release(self)

    def fail(self, status: int, cause: str) -> None:
        """Close the connection and fail its exchange."""
        exchange, self.exchange = self.exchange, None
        unanswered = not self._answered
        # A kept connection may have died while idle: a new one may work. If a fresh connection
        # died, only another backend can help.
        again = unanswered and (self.served > 0 or self.pool.several)
        if unanswered:
            self.backend.note_failure(self._loop.now)  # its other connections may be dead too
            self._note_end()
        self.close()
        if exchange is not None:
            exchange.fail(status, f"{self.backend.address}: {cause}", again=again)

    # Events

    def on_event(self, mask: int) -> None:
        """Handle epoll events."""
        if self.closed:
            return
        if not self._connected:
            self._on_connected()
            return
        if mask & WRITE:
            self._flush()
        if mask & (READ | BROKEN) and not self.closed:
            self._read(mask)

    def _on_connected(self) -> None:
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._unreachable(502, f"cannot connect: {os.strerror(code)}")
            return
        self._connected = True
        self.backend.connecting.discard(self)
        self._watch()
        if self.exchange is not None:
            self._begin(self.exchange)
        else:  # the client left while the connection was being established
            self.deadline = self._loop.now + self._timeouts.idle
            self.pool.release(self)

    def _unreachable(self, status: int, cause: str) -> None:
        exchange, self.exchange = self.exchange, None
        self.backend.note_failure(self._loop.now)
        self.close()
        if exchange is not None:
            exchange.on_unreachable(self.backend, status, cause)

    def on_gone(self) -> None:
        """Close this idle or connecting connection: the backend's address has vanished."""
        if self._connected:
            self.close()
        else:
            self._unreachable(502, "the address no longer exists")

    def _read(self, mask: int) -> None:
        if self._paused and not mask & BROKEN:
            return
        try:
            data = self._sock.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(502, f"the connection broke: {error.strerror}")
            return
        exchange = self.exchange
        if exchange is None:
            self._on_idle_data(data)
            return
        if not data:
            self._receive_eof(exchange)
            return
        if not self._answered:
            self._answered = True
            exchange.first_byte_at = self._loop.now
        if not self._paused:
            self._await_response()
        self._receive(exchange, data)

    def _on_idle_data(self, _data: bytes) -> None:
        """Close an idle connection: the backend closed it or sent unsolicited data."""
        self._note_end()
        self.close()

    def _note_end(self) -> None:
        if self.served == 1:
            self.backend.note_short_life(self._loop.now)

    def on_deadline(self) -> None:
        """Handle a timeout."""
        if self.exchange is None:
            self.close()
        elif not self._connected:
            self._unreachable(504, f"no connection within {self._timeouts.connect:g} s")
        elif self._out:
            self._answered = True  # the backend may have acted on a partial request: no retry
            self.fail(504, f"accepted no bytes of the request for {self._timeouts.send:g} s")
        else:
            self._answered = True
            self.fail(504, f"sent no bytes of the response for {self._timeouts.read:g} s")

    # Sending

    def _send(self, data: bytes) -> None:
        """Send `data`; buffer what the socket does not accept now."""
        if self._out:
            self._out += data
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The backend may have responded before closing (413, say): read that response first.
            self._read(BROKEN)
            return
        if sent < len(data):
            self._out += data[sent:]
            self.deadline = self._loop.now + self._timeouts.send
            self._watch()

    def _flush(self) -> None:
        while self._out:
            try:
                sent = self._sock.send(self._out[:_RECEIVE])
            except BlockingIOError:
                return
            except OSError:
                self._out.clear()
                self._watch()
                self._read(BROKEN)
                return
            del self._out[:sent]
            self.deadline = self._loop.now + self._timeouts.send
        self._watch()
        if self._content_ended:
            self._await_response()
        else:
            self.pump()

    def _watch(self) -> None:
        if not self._connected:
            return
        interest = 0 if self._paused else READ
        if self._out:
            interest |= WRITE
        if interest != self._interest and not self.closed:
            self._interest = interest
            self._loop.modify(self._sock, interest)

    def close(self) -> None:
        """Close the connection now."""
        if self.closed:
            return
        self.closed = True
        self.backend.connecting.discard(self)
        self._loop.close(self._sock)
        self._loop.forget(self)
        self.pool.on_closed(self)


def open_connection(backend: "Backend") -> tuple[socket.socket, bool]:
    """Return a nonblocking socket, and False while its connect is still in progress.

    Raises OSError if connecting fails immediately: refused, or no such socket. A unix socket with
    a full backlog fails with EAGAIN rather than waiting.
    """
    sock = socket.socket(backend.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if backend.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(backend.sockaddr)
    except OSError:
        sock.close()
        raise
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise OSError(code, os.strerror(code))
    return sock, not code
