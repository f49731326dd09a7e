"""One client connection: reads requests, hands each to an exchange, writes the responses.

Every response goes straight to the socket. Only what the socket rejects is buffered, and a full
buffer pauses the exchange (`over_high`) until the client catches up. `_wants_input` lists every
reason to stop reading.

Like nginx, the gateway aborts a running request when its client closes, which frees the upstream.
A half-close counts as a close, because both look the same: a FIN.
"""

import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from chainlab.wire.fastcgi import encode_ending, encode_pair
from chainlab.wire.http1 import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    Data,
    EndOfMessage,
    RemoteProtocolError,
    RequestHead,
    ResponseHead,
    ServerConnection,
    reason_phrase,
)
from gateway.body import HIGH
from gateway.config import Config
from gateway.loop import BROKEN, HANGUP, NEVER, READ, WRITE
from gateway.params import REQUEST_ID, SOFTWARE, Peer

if TYPE_CHECKING:
    from gateway.process import Process

_RECEIVE: Final = 65536
_LINGER: Final = 5.0  # seconds to keep reading after a response that preceded the request's end
_NEWCOMER: Final = 1.0  # seconds a new client has for its first request during shutdown
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER 0: close sends RST, so truncation is visible


class Exchange(Protocol):
    """One request in flight, as its client sees it."""

    head: RequestHead

    @property
    def body_full(self) -> bool:
        """True if the client must stop sending body bytes for now."""

    def on_body(self, data: bytes) -> None:
        """Handle a piece of the request body."""

    def on_body_end(self) -> None:
        """Handle the end of the request."""

    def on_input_pause(self) -> None:
        """Handle the end of one read: no more body bytes until the next read."""

    def on_drained(self) -> None:
        """Resume: the socket has accepted everything sent so far."""

    def abandon(self, status: int) -> None:
        """Release all resources and log `status`; send the client nothing more."""


class Client:
    """An accepted connection. It closes itself and then sets `closed`."""

    __slots__ = (
        "_advancing",
        "_interest",
        "_lingering",
        "_loop",
        "_out",
        "_process",
        "_sock",
        "_stuck",
        "began_at",
        "closed",
        "deadline",
        "ending",
        "exchange",
        "http",
        "peer",
        "port_pair",
        "trace_ending",
    )

    def __init__(self, process: "Process", sock: socket.socket, peer: Peer, port: int) -> None:
        self._process = process
        self._loop = process.loop
        self._sock = sock
        self._out = bytearray()
        self._interest = READ
        self._advancing = False
        self._lingering = False
        self._stuck = False  # the last send was partial: wait for WRITE
        self.peer = peer
        self.port_pair = encode_pair(b"REMOTE_PORT", b"%d" % port)
        self.ending = encode_ending(self.port_pair, REQUEST_ID)
        self.trace_ending: tuple[Config, bytes] | None = None  # a cache that `tracing` fills
        self.http = ServerConnection(process.current.config.limits)
        self.exchange: Exchange | None = None
        self.closed = False
        # Start of the next request head: accept time for the first request, arrival of the first
        # byte for later ones; 0 before that byte. The header timeout runs while this is set.
        self.began_at = self._loop.now
        self.deadline = self.began_at + process.current.config.timeouts.header
        self._loop.register(sock, READ, self.on_event)
        self._loop.watch(self)

    @property
    def idle(self) -> bool:
        """True if no request is running or partly received and no response bytes are unsent."""
        return self.exchange is None and not self.http.buffered and not self._out

    @property
    def kept(self) -> bool:
        """True if the connection is idle between two requests."""
        return self.idle and not self.began_at

    # Events

    def on_event(self, mask: int) -> None:
        """Handle epoll events."""
        if mask & BROKEN:
            self._gone()
            return
        if mask & WRITE:
            self._flush()
        if mask & READ and not self.closed:
            self._read(mask)

    def _read(self, mask: int) -> None:
        if not self._interest & READ & ~HANGUP:  # reading is paused: EPOLLIN is not watched
            if mask & HANGUP:
                self._gone()
            return
        try:
            data = self._sock.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            self._gone()
            return
        if self._lingering:
            if not data:
                self.close()
            return
        if data:
            if self.exchange is None and not self._out:
                head = self.http.receive_known(data)
                if head is not None:
                    self.deadline = NEVER
                    self._process.begin(self, head)
                    return
            self.http.receive_data(data)
        elif self.exchange is not None:
            self._gone()
            return
        else:
            self.http.receive_eof()
        self.advance()

    def on_deadline(self) -> None:
        """Handle a timeout: 408 in mid-request, otherwise close (RFC 9110 section 15.5.9)."""
        exchange = self.exchange
        if self._out or self._lingering or self.http.response_started or self.idle:
            self._gone()
            return
        what = "request head" if exchange is None else "request body"
        self._process.error_log.info(
            f"client {self.peer.remote}: the {what} did not arrive in time"
        )
        if exchange is not None:
            self.exchange = None
            exchange.abandon(0)
        self.http.refuse()
        self.refuse(408, exchange.head if exchange else None)

    # Requests

    def advance(self) -> None:
        """Process received bytes until the connection must wait for input or output."""
        if self._advancing or self.closed:
            return
        self._advancing = True
        try:
            self._advance()
        except RemoteProtocolError as error:
            self._on_bad_request(error)
        self._advancing = False
        if not self.closed:
            self._watch()

    def _advance(self) -> None:
        http = self.http
        while not self.closed:
            exchange = self.exchange
            if exchange is None and self._out:
                return  # one response at a time: flush this one before the next request
            if exchange is not None and exchange.body_full:
                exchange.on_input_pause()
                if exchange.body_full:
                    self.deadline = NEVER
                    return
                continue
            event = http.next_event()
            if event is PAUSED:
                return
            if event is NEED_DATA:
                self._await_more(exchange)
                return
            if event is CLOSED:
                self._finish()
                return
            if isinstance(event, RequestHead):
                self.deadline = NEVER  # the upstream's deadlines hold now
                self._process.begin(self, event)
            elif exchange is None:
                continue  # drop the body of a request that already has its response
            elif isinstance(event, Data):
                exchange.on_body(event.data)
            elif isinstance(event, EndOfMessage):
                self.deadline = NEVER
                exchange.on_body_end()

    def _await_more(self, exchange: Exchange | None) -> None:
        timeouts = self._process.current.config.timeouts
        if exchange is not None:
            self.deadline = self._loop.now + exchange.head.derived.timeouts.body
            if self.http.awaiting_continue:
                self.send(self.http.send_continue())
            exchange.on_input_pause()
        elif self.http.buffered and not self.began_at:
            self.began_at = self._loop.now  # fixed at the first byte: slow bytes cannot extend it
            self.deadline = self.began_at + timeouts.header

    def _on_bad_request(self, error: RemoteProtocolError) -> None:
        self._process.error_log.info(
            f"client {self.peer.remote}: refused with {error.status}: {error.reason}"
        )
        exchange, self.exchange = self.exchange, None
        head = None
        if exchange is not None:
            head = exchange.head
            exchange.abandon(0)
        if self.http.response_started:
            self.cut()
        else:
            self.refuse(error.status, head, error.reason)

    def refuse(
        self,
        status: int,
        head: RequestHead | None,
        why: str = "",
        *,
        extra: bytes = b"",
        log: Callable[[int, int], None] | None = None,
    ) -> None:
        """Send a gateway-generated error response and log it.

        A failed exchange passes encoded field lines in `extra` and its own logger,
        `log(status, size)`.
        """
        text = f"{status} {reason_phrase(status).decode()}\n" + (f"{why}\n" if why else "")
        retry = ((b"Retry-After", b"1"),) if status == 503 else ()
        self.answer(status, text.encode(), head, *retry, extra=extra, log=log)

    def answer(
        self,
        status: int,
        body: bytes,
        head: RequestHead | None,
        *fields: tuple[bytes, bytes],
        extra: bytes = b"",
        log: Callable[[int, int], None] | None = None,
    ) -> None:
        """Send a short gateway-generated response and log it."""
        if not any(name == b"Content-Type" for name, _ in fields):
            fields = (*fields, (b"Content-Type", b"text/plain; charset=utf-8"))
        response = ResponseHead(status, [(b"Server", SOFTWARE), *fields])
        extra = b"Date: %b\r\n%b" % (self._loop.date, extra)
        self.send(self.http.send_complete(response, body, extra))
        if log is not None:
            log(status, len(body))
        else:
            self._process.log_own(self, head, status, len(body))
        self.on_answered()

    def on_answered(self) -> None:
        """End the exchange; continue with the next request once the response is flushed."""
        self.exchange = None
        self.began_at = 0.0
        if self.closed or self._out:
            return
        if self.http.ready:  # fast path: keep-alive and nothing buffered
            self.deadline = self._loop.now + self._process.current.config.timeouts.idle
            if self._process.leaving:
                self.close()
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Close, wait for the next request, or start one that is already buffered."""
        if self.http.must_close:
            self._finish()
            return
        self.deadline = self._loop.now + self._process.current.config.timeouts.idle
        if self.http.buffered:
            self.advance()
        elif self._process.leaving:
            self.close()

    # Sending

    @property
    def over_high(self) -> bool:
        """True if so many bytes are unsent that the upstream should pause."""
        return len(self._out) >= HIGH

    @property
    def waiting(self) -> bool:
        """True if response bytes are waiting for the socket."""
        return bool(self._out)

    def send(self, data: bytes) -> None:
        """Send `data`; buffer what the socket does not accept now."""
        if self._out:
            self._out += data
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._gone()
            return
        if sent < len(data):
            self._out += data[sent:]
            self.wait_until_writable()

    def sendfile(self, fd: int, offset: int, count: int) -> int | None:
        """Send from `fd` with sendfile(2); return the bytes sent, None if the socket is full."""
        if self._out:
            return None
        try:
            return os.sendfile(self._sock.fileno(), fd, offset, count)
        except BlockingIOError:
            return None
        except OSError:
            self._gone()
            return None

    def wait_until_writable(self) -> None:
        """Call `on_drained` once the socket is writable again."""
        self.deadline = self._loop.now + self._process.current.config.timeouts.send
        self._stuck = True
        self._watch()

    def _flush(self) -> None:
        while self._out:
            try:
                sent = self._sock.send(self._out[:_RECEIVE])
            except BlockingIOError:
                return
            except OSError:
                self._gone()
                return
            del self._out[:sent]
            self.deadline = self._loop.now + self._process.current.config.timeouts.send
        self.deadline = NEVER
        self._stuck = False
        self._watch()
        if self.exchange is not None:
            self.exchange.on_drained()
        else:
            self._go_on()

    def _wants_input(self) -> bool:
        """True if the gateway should read from the client now."""
        if self.http.buffered >= HIGH:
            return False  # too many pipelined bytes are buffered already
        if self.exchange is not None and self.exchange.body_full:
            return False  # the client sends its body faster than the upstream reads
        return not self.http.must_close or self._lingering

    def _watch(self) -> None:
        interest = READ if self._wants_input() else HANGUP
        if self._stuck:
            interest |= WRITE
        if interest != self._interest and not self.closed:
            self._interest = interest
            self._loop.modify(self._sock, interest)

    def resume(self) -> None:
        """Resume reading: the exchange accepts body bytes again."""
        self.advance()

    # Ending

    def _finish(self) -> None:
        """Close once everything is sent; if the client may still be sending, linger first.

        Closing a socket that has unread bytes sends RST, which can destroy a response still in
        flight (RFC 9112 section 9.6). So shut down writing and keep reading for a while.
        """
        if self._out:
            return
        if not self.http.unread:
            self.close()
        elif not self._lingering:
            self._lingering = True
            self.deadline = self._loop.now + _LINGER
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.close()
                return
            self._watch()

    def leave(self) -> None:
        """Close now if idle, otherwise after the current response."""
        if self.kept:
            self.close()
        elif self.idle:
            self.deadline = min(self.deadline, self._loop.now + _NEWCOMER)
        elif not self.http.response_started:
            self.http.keep_alive = False

    def give_up(self) -> None:
        """Abort the exchange and the connection, whatever their state."""
        exchange, self.exchange = self.exchange, None
        self.cut()
        if exchange is not None:
            exchange.abandon(0)

    def cut(self) -> None:
        """Reset the connection, so that a partial response cannot look complete."""
        if not self.closed:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close()

    def _gone(self) -> None:
        """Close after the client disconnected or timed out; log 499 for a running request."""
        exchange, self.exchange = self.exchange, None
        self.close()
        if exchange is not None:
            exchange.abandon(499)

    def close(self) -> None:
        """Close the connection now."""
        if self.closed:
            return
        self.closed = True
        self._loop.close(self._sock)
        self._loop.forget(self)
        self._process.on_client_closed(self)
