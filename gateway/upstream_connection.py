"""A connection to a backend, independent of protocol: connect, send, receive, time out, reuse.

Every send goes straight to the socket; the loop watches for writability only while bytes are left
over. An idle connection stays registered for reading, so the gateway notices when the backend
closes it. Subclasses encode requests and decode responses.

The connection knows two roles: the `Requester`, whose request it carries, and the `Lender`, to whom
it belongs. A failure reaches the requester as a `Failure`: what happened, not what to do about it.
"""

import errno
import os
import socket
from abc import ABC, abstractmethod
from typing import ClassVar, Final

from chainlab.wire.http1 import RequestHead, ResponseHead
from gateway.backend import Backend, PooledConnection
from gateway.body import Body
from gateway.config import Config, Upstream
from gateway.failure import Failure, Kind
from gateway.loop import BROKEN, NEVER, READ, WRITE
from gateway.params import RequestPlan
from gateway.services import Services
from gateway.spool import HIGH
from gateway.stream import RECEIVE, Stream
from gateway.timeline import Timeline

_STALE: Final = 0.5  # seconds for the news that a kept connection died while it was idle
_ABORT_GRACE: Final = 1.0  # seconds a backend has to confirm an aborted request


class Requester(Timeline, ABC):
    """A request as its upstream connection sees it."""

    __slots__ = ()  # a subclass has the attributes below

    traced: ClassVar[bool] = False
    """True if this class adds timing or trace fields beyond the request id (`tracing`)."""

    head: RequestHead
    plan: RequestPlan
    request_id: bytes
    body: Body | None
    connection: "UpstreamConnection | None"
    retried: bool
    tried: tuple[Backend, ...]
    port_pair: bytes
    ending: tuple[bytes, ...]

    @abstractmethod
    def on_content_taken(self) -> None:
        """Handle room for more of the request body."""

    @abstractmethod
    def respond(self, head: ResponseHead, data: bytes, *, complete: bool) -> None:
        """Take the response head and the first content; `complete` means all of it."""

    @abstractmethod
    def more(self, data: bytes, *, complete: bool) -> None:
        """Take more content; `complete` marks the last piece."""

    @abstractmethod
    def on_failure(self, failure: Failure) -> None:
        """Handle a failure; the connection is already closed."""

    # Hooks for `tracing`, called only if `traced` is true

    def trace_params(self) -> list[tuple[bytes, bytes]]:
        """Return FastCGI parameters to send besides the request id."""
        return []

    def make_ending(self) -> bytes:
        """Return the final records of a bodiless request, with its id and trace parameters."""
        return b""

    def trace_fields(self) -> bytes:
        """Return header lines to send to an HTTP upstream besides the request id."""
        return b""

    def strip_timing(self, head: bytes) -> bytes:
        """Return an upstream's response head without its trailing Server-Timing field."""
        return head


class Lender(ABC):
    """The owner of connections: takes them back, and holds what governs them."""

    services: Services
    upstream: Upstream
    config: Config

    @abstractmethod
    def release(self, connection: "UpstreamConnection") -> None:
        """Take back a reusable connection."""

    @abstractmethod
    def on_closed(self, connection: "UpstreamConnection") -> None:
        """Forget a closed connection."""


class UpstreamConnection(Stream, PooledConnection):
    """A connection to `backend` that carries one request at a time.

    The constructor raises OSError if connecting fails immediately.
    """

    __slots__ = (
        "_aborting",
        "_answered",
        "_connected",
        "_content_ended",
        "_out",
        "_paused",
        "_rejected",
        "_since",
        "_timeouts",
        "backend",
        "exchange",
        "pool",
        "served",
    )

    def __init__(self, pool: Lender, backend: Backend) -> None:
        sock, self._connected = open_connection(backend)
        super().__init__(pool.services.loop, sock, READ if self._connected else WRITE)
        self._loop.read_clock()
        self.pool = pool
        self.backend = backend
        self.exchange: Requester | None = None
        self.served = 0  # completed exchanges
        self._timeouts = pool.config.timeouts
        self._aborting = False  # its request was aborted; waiting for the backend to confirm
        self._answered = False  # a byte of the current response has arrived
        self._content_ended = True  # the whole request body has been encoded
        self._rejected = False  # the backend accepts no more of the request
        self._paused = False
        self._out = bytearray()
        self._since = self._loop.now  # when the current wait last made progress
        if not self._connected:
            backend.connecting.add(self)
        self._settle()

    # Protocol hooks

    @abstractmethod
    def _send_request(self, exchange: Requester) -> None:
        """Send the request head and, if possible, the whole body."""

    @abstractmethod
    def _receive(self, exchange: Requester, data: bytes) -> None:
        """Handle bytes of the response."""

    @abstractmethod
    def _receive_eof(self, exchange: Requester) -> None:
        """Handle a close by the backend in the middle of an exchange."""

    @abstractmethod
    def _encode_content(self, data: bytes, *, last: bool) -> bytes:
        """Encode a piece of the request body."""

    @abstractmethod
    def abort(self) -> None:
        """Abort the exchange: the client is gone."""

    # An exchange

    def start(self, exchange: Requester, assigned_at: float) -> None:
        """Send the request of `exchange` now, or as soon as the connection is established.

        `assigned_at` is when the pool chose this connection.
        """
        self.exchange = exchange
        exchange.connection = self  # type: ignore[misc]  # a slot of its subclass
        exchange.assigned_at = assigned_at
        self._timeouts = exchange.plan.timeouts
        if self._connected:
            self._begin(exchange)

    def _begin(self, exchange: Requester) -> None:
        exchange.connected_at = self._since = self._loop.now
        self._answered = False
        self._content_ended = exchange.body is None
        self._send_request(exchange)
        if self._content_ended:
            self.deadline = self._since + (
                self._timeouts.send if self._out else self._timeouts.read
            )
        else:
            self.pump()

    def pump(self) -> None:
        """Forward body bytes until the body or the send buffer stops it."""
        exchange = self.exchange
        if self._content_ended or exchange is None or exchange.body is None or not self._connected:
            return
        body = exchange.body
        took = False
        while not self._content_ended and len(self._out) < HIGH and not self._rejected:
            data = body.take()
            if not data and not body.drained:
                break
            self._content_ended = body.drained
            took = took or bool(data)
            self._send(self._encode_content(data, last=self._content_ended))
        if took:
            self._since = self._loop.now
            exchange.on_content_taken()
        self._settle()

    def _settle(self) -> None:
        """Set the one limit on the current wait, and the events to watch, from the state.

        Called after every event that made progress or changed the state.
        """
        since, timeouts = self._since, self._timeouts
        if not self._connected:
            self.deadline = since + timeouts.connect
            return
        if self.exchange is None:
            self.deadline = since + (_ABORT_GRACE if self._aborting else timeouts.idle)
        elif self._out:
            self.deadline = since + timeouts.send
        elif self._paused or not (self._content_ended or self._rejected):
            self.deadline = NEVER  # waiting for the client, which has its own limit
        else:
            self.deadline = since + timeouts.read
        interest = 0 if self._paused else READ
        self._set_interest(interest | WRITE if self._out else interest)

    def pause(self) -> None:
        """Stop reading the response until `resume`."""
        if not self._paused:
            self._paused = True
            self._settle()

    def resume(self) -> None:
        """Resume reading the response."""
        if self._paused:
            self._paused = False
            self._since = self._loop.now
            self._settle()

    def _done(self, *, reusable: bool) -> None:
        """Release the connection after a complete response, before the client receives it.

        The client may already have sent its next request, which should find this connection free.
        """
        if self.exchange is not None:
            self.exchange.connection = None  # type: ignore[misc]
            self.exchange = None
        self.served += 1
        if self.served == 2:
            self.backend.short_lives = 0
        self._since = self._loop.now
        if self._paused:
            self._paused = False
            self._settle()
        if not reusable or not self._content_ended or self._out or self._rejected:
            self.close()
            return
        self.deadline = self._since + self._timeouts.idle
        self.pool.release(self)

    def fail(self, status: int, cause: str, kind: Kind | None = None) -> None:
        """Close the connection and report the failure of its request."""
        exchange, self.exchange = self.exchange, None
        if kind is None:
            kind = Kind.OTHER if self._answered else Kind.UNANSWERED
        if kind in (Kind.UNANSWERED, Kind.REFUSED):
            self.backend.note_failure(self._loop.now)  # its other connections may be dead too
        if kind is Kind.UNANSWERED:
            self._note_end()
        self.close()
        if exchange is not None:
            stale = self.served > 0 and self._loop.now - self._since < _STALE
            exchange.on_failure(Failure(kind, status, cause, self.backend, stale))

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
            self.fail(502, f"cannot connect: {os.strerror(code)}", Kind.REFUSED)
            return
        self._connected = True
        self._since = self._loop.now
        self.backend.connecting.discard(self)
        self._settle()
        if self.exchange is not None:
            self._begin(self.exchange)
        else:  # the client left while the connection was being established
            self.pool.release(self)

    def on_gone(self) -> None:
        """Close this idle or connecting connection: the backend's address has vanished."""
        if self._connected:
            self.close()
        else:
            self.fail(502, "the address no longer exists", Kind.REFUSED)

    def _read(self, mask: int) -> None:
        if self._paused and not mask & BROKEN:
            return
        try:
            data = self._sock.recv(RECEIVE)
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
        self._since = self._loop.now
        if not self._answered:
            self._answered = True
            exchange.first_byte_at = self._since
        self._receive(exchange, data)
        if self.exchange is not None:
            self._settle()

    def _on_idle_data(self, _data: bytes) -> None:
        """Close an idle connection: the backend closed it or sent unsolicited data."""
        self._note_end()
        self.close()

    def _note_end(self) -> None:
        if self.served == 1:
            self.backend.note_short_life(self._loop.now)

    def on_deadline(self) -> None:
        """Handle a timeout."""
        limits = self._timeouts
        if self.exchange is None:
            self.close()
        elif not self._connected:
            self.fail(504, f"no connection within {limits.connect:g} s", Kind.REFUSED)
        elif self._out:  # the backend may have acted on a partial request: no retry
            self.fail(504, f"accepted no bytes of the request for {limits.send:g} s", Kind.OTHER)
        else:
            self.fail(504, f"sent no bytes of the response for {limits.read:g} s", Kind.OTHER)

    # Sending

    def _send(self, data: bytes) -> None:
        """Send `data`; buffer what the socket does not accept now."""
        if self._out:
            self._out += data
            return
        if self._rejected:
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._reject()
            return
        if sent < len(data):
            self._out += data[sent:]
            self._settle()

    def _reject(self) -> None:
        """Send no more: the backend has closed. Read its response first; it may be a 413, say."""
        self._rejected = True
        self._out.clear()
        self._loop.soon(self._read_rest)

    def _read_rest(self) -> None:
        if not self.closed:
            self._read(BROKEN)

    def _flush(self) -> None:
        while self._out:
            try:
                sent = self._sock.send(self._out[:RECEIVE])
            except BlockingIOError:
                break
            except OSError:
                self._reject()
                break
            del self._out[:sent]
            self._since = self._loop.now
        if self._out or self._content_ended:
            self._settle()
        else:
            self.pump()

    def _on_closed(self) -> None:
        self.backend.connecting.discard(self)
        self.pool.on_closed(self)


def open_connection(backend: Backend) -> tuple[socket.socket, bool]:
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
