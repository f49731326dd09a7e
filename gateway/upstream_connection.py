"""One connection to a back end, whatever it speaks: connect, send, receive, time out, be kept.

The socket is tried at once for whatever is to be sent, and is watched for writing only while it
does not take it. A kept connection stays registered for reading, so that the back end's close is
seen while it lies idle. Subclasses turn an exchange into bytes and bytes into an answer.
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
    """A connection to `backend`; `start` gives it an exchange, one at a time.

    Raises OSError when connecting fails at once.
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
        self.served = 0  # exchanges that ended well
        self._loop = pool.loop
        self._timeouts = pool.config.timeouts
        self._answered = False  # whether a byte of the current answer has come
        self._content_ended = True  # whether all of the request's content has been encoded
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

    # What a protocol adds

    @abstractmethod
    def _send_request(self, exchange: "ProxyExchange") -> None:
        """Send the request's head, and its content as far as it is here."""

    @abstractmethod
    def _receive(self, exchange: "ProxyExchange", data: bytes) -> None:
        """Take bytes of the answer."""

    @abstractmethod
    def _receive_eof(self, exchange: "ProxyExchange") -> None:
        """The back end has closed in the middle of an exchange."""

    @abstractmethod
    def _encode_content(self, data: bytes, *, last: bool) -> bytes:
        """Return request content as the protocol carries it."""

    @abstractmethod
    def abort(self) -> None:
        """Give up the exchange: the client is gone."""

    # An exchange

    def start(self, exchange: "ProxyExchange", assigned_at: float) -> None:
        """Take `exchange`, which was meant for this connection since `assigned_at`.

        Its request is sent now, or when connected.
        """
        self.exchange = exchange
        exchange.connection = self
        exchange.assigned_at = assigned_at
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
        """Send request content on, as far as there is some and it is taken."""
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
        """Set the deadline that fits: who is slow now, the back end or the client?"""
        if self._out:
            self.deadline = self._loop.now + self._timeouts.send
        elif self._content_ended:
            self.deadline = self._loop.now + self._timeouts.read
        else:
            self.deadline = NEVER  # the client's own deadline holds

    def pause(self) -> None:
        """Read no more of the answer until `resume`."""
        if not self._paused and not self.closed:
            self._paused = True
            self.deadline = NEVER
            self._watch()

    def resume(self) -> None:
        """Read on."""
        if self._paused and not self.closed:
            self._paused = False
            self._await_response()
            self._watch()

    def _done(self, *, reusable: bool) -> None:
        """The answer is complete: take the next exchange, before the client hears of it.

        The client may have sent its next request already, and it is to find this connection free.
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
        """Close, and tell the exchange why."""
        exchange, self.exchange = self.exchange, None
        unanswered = not self._answered
        # A kept connection may have died while it lay idle; else it was the back end that died.
        again = unanswered and (self.served > 0 or self.pool.several)
        if unanswered:
            self.backend.note_failure(self._loop.now)  # its other connections may be dead too
            self._note_end()
        self.close()
        if exchange is not None:
            exchange.fail(status, f"{self.backend.address}: {cause}", again=again)

    # Events

    def on_event(self, mask: int) -> None:
        """React to what epoll saw."""
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
        else:  # its client went away meanwhile
            self.deadline = self._loop.now + self._timeouts.idle
            self.pool.release(self)

    def _unreachable(self, status: int, cause: str) -> None:
        exchange, self.exchange = self.exchange, None
        self.backend.note_failure(self._loop.now)
        self.close()
        if exchange is not None:
            exchange.on_unreachable(self.backend, status, cause)

    def on_gone(self) -> None:
        """Close, being idle or not connected yet: the back end's address is no more."""
        if self._connected:
            self.close()
        else:
            self._unreachable(502, "its address is gone")

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
        """An idle connection was closed by the back end, or talks without being asked."""
        self._note_end()
        self.close()

    def _note_end(self) -> None:
        if self.served == 1:
            self.backend.note_short_life(self._loop.now)

    def on_deadline(self) -> None:
        """Act on silence."""
        if self.exchange is None:
            self.close()
        elif not self._connected:
            self._unreachable(504, f"no connection within {self._timeouts.connect:g} s")
        elif self._out:
            self._answered = True  # it may have acted on what it took: no second try
            self.fail(504, f"takes no bytes of the request for {self._timeouts.send:g} s")
        else:
            self._answered = True
            self.fail(504, f"no byte of the response for {self._timeouts.read:g} s")

    # Sending

    def _send(self, data: bytes) -> None:
        """Send `data`, or keep what the socket does not take now."""
        if self._out:
            self._out += data
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The answer may be here all the same (413 and close): reading tells.
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
    """Return a nonblocking socket and whether it is connected already; else it is under way.

    OSError when it cannot be: refused, no such socket, a full backlog (EAGAIN, unix sockets).
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
