"""One client connection: reads requests, hands each to an exchange, writes the responses.

Every response goes straight to the socket. Only what the socket rejects is queued (`outbox`), and a
full queue pauses the exchange (`over_high`) until the client catches up. `_wants_input` lists every
reason to stop reading, `_settle` every limit on a wait.

Like nginx, the gateway aborts a running request when its client closes, which frees the upstream.
A half-close counts as a close, because both look the same: a FIN.
"""

import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

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
from gateway.config import Config
from gateway.logs import LogHead
from gateway.loop import BROKEN, HANGUP, NEVER, READ, WRITE
from gateway.params import REQUEST_ID, SOFTWARE, Peer
from gateway.services import Services
from gateway.serving import Exchange, ResponseSink
from gateway.spool import HIGH
from gateway.stream import RECEIVE, QueuedStream

_LINGER: Final = 5.0  # seconds to keep reading after a response that preceded the request's end
_NEWCOMER: Final = 1.0  # seconds a new client has for its first request during shutdown
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER 0: close sends RST, so truncation is visible


class ClientOwner(ABC):
    """Who accepted the connections: starts their requests, and forgets them when they close."""

    @abstractmethod
    def begin(self, client: "Client", head: RequestHead) -> None:
        """Hand a request to its handler."""

    @abstractmethod
    def on_client_closed(self, client: "Client") -> None:
        """Forget a closed client."""


class Client(QueuedStream, ResponseSink):
    """An accepted connection. It closes itself and then sets `closed`."""

    __slots__ = (
        "_linger_until",
        "_owner",
        "_scheduled",
        "_services",
        "began_at",
        "ending",
        "exchange",
        "http",
        "peer",
        "port_pair",
        "timeouts",
        "trace_ending",
    )

    def __init__(
        self, services: Services, owner: ClientOwner, sock: socket.socket, peer: Peer, port: int
    ) -> None:
        super().__init__(services.loop, sock, READ, services.spool_space)
        self._services = services
        self._owner = owner
        self._scheduled = False  # `advance` runs after this batch
        self._linger_until = 0.0  # 0 unless lingering
        self.peer = peer
        self.port_pair = encode_pair(b"REMOTE_PORT", b"%d" % port)
        self.ending = encode_ending(self.port_pair, REQUEST_ID)
        self.trace_ending: tuple[Config, bytes] | None = None  # a cache that `tracing` fills
        self.http = ServerConnection(services.limits)
        self.exchange: Exchange | None = None
        self.timeouts = services.timeouts  # of the current request's route
        # Start of the next request head: accept time for the first request, arrival of the first
        # byte for later ones; 0 before that byte. The header timeout runs while this is set.
        self.began_at = self._loop.now
        self.deadline = self.began_at + services.timeouts.header

    @property
    def idle(self) -> bool:
        """True if no request is running or partly received and no response bytes are unsent."""
        return self.exchange is None and not self.http.buffered and not self._out.memory

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
            data = self._sock.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            self._gone()
            return
        if self._linger_until:
            if not data:
                self.close()
            return
        if data:
            if not self._out.memory:
                self._since = self._loop.now
            if self.exchange is None and not self._out.memory:
                head = self.http.receive_known(data)
                if head is not None:
                    self.deadline = NEVER  # the upstream's deadlines hold now
                    self._owner.begin(self, head)
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
        if self._out.memory or self._linger_until or self.http.response_started or self.idle:
            self._gone()
            return
        what = "request head" if exchange is None else "request body"
        self._services.error_log.info(
            f"client {self.peer.remote}: the {what} did not arrive in time"
        )
        if exchange is not None:
            self.exchange = None
            exchange.abandon(0)
        self.http.refuse()
        self.refuse(408, exchange.head if exchange else None)

    # Requests

    def resume(self) -> None:
        """Process received bytes again after this batch: the exchange accepts more of the body."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.soon(self.advance)

    def advance(self) -> None:
        """Process received bytes until the connection must wait for input or output."""
        self._scheduled = False
        if self.closed:
            return
        try:
            self._advance()
        except RemoteProtocolError as error:
            self._on_bad_request(error)
        self._settle()

    def _advance(self) -> None:
        http = self.http
        while not (self.closed or self._broken or self._linger_until):
            exchange = self.exchange
            if exchange is None and self._out.memory:
                return  # one response at a time: flush this one before the next request
            if exchange is not None and exchange.body_full:
                exchange.on_input_pause()
                if exchange.body_full:
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
                self._owner.begin(self, event)
            elif exchange is None:
                continue  # drop the body of a request that already has its response
            elif isinstance(event, Data):
                exchange.on_body(event.data)
            elif isinstance(event, EndOfMessage):
                exchange.on_body_end()

    def _await_more(self, exchange: Exchange | None) -> None:
        if exchange is not None:
            if self.http.awaiting_continue:
                self.send(self.http.send_continue())
            exchange.on_input_pause()
        elif self.http.buffered and not self.began_at:
            self.began_at = self._loop.now  # fixed at the first byte: slow bytes cannot extend it

    def _settle(self) -> None:
        """Set the one limit on the current wait, and the events to watch, from the state.

        Called after every event that made progress or changed the state.
        """
        if self.closed:
            return
        since, timeouts = self._since, self.timeouts
        if self._linger_until:
            self.deadline = self._linger_until
        elif self._out.memory or self._stuck:
            self.deadline = since + timeouts.send
        elif self.http.unread and not (self.exchange is not None and self.exchange.body_full):
            self.deadline = since + timeouts.body
        elif self.exchange is not None:
            self.deadline = NEVER  # the upstream connection or the queue has a limit
        elif self.began_at:
            self.deadline = self.began_at + self._services.timeouts.header
        else:
            self.deadline = since + self._services.timeouts.idle
        interest = READ if self._wants_input() else HANGUP
        self._set_interest(interest | WRITE if self._stuck else interest)

    def _on_bad_request(self, error: RemoteProtocolError) -> None:
        self._services.error_log.info(
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
        """Send a gateway-generated error response, and log it or call `log(status, size)`."""
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
            self.log(head, status, len(body))
        self._on_answered()

    def log(self, head: RequestHead | None, status: int, size: int) -> None:
        """Write the access-log line of a response that the gateway made itself."""
        log = self._services.access_log
        if log.enabled:
            line = head.derived.log if head is not None and head.derived else LogHead(head)
            write = log.record if log.json else log.combined
            write(self.peer.remote, line, status, size)

    def respond(self, head: ResponseHead, data: bytes, extra: bytes) -> None:
        """Send the exchange's whole response."""
        http, exchange = self.http, self.exchange
        if exchange is not None and exchange.head.method == b"HEAD":
            out = http.send_response(head, extra) + http.end()  # the length of a GET is not known
        else:
            out = http.send_complete(head, data, extra)
        self.send(out)
        self._on_answered()

    def begin_response(self, head: ResponseHead, data: bytes, extra: bytes, *, spool: int) -> None:
        """Send the head and the first content of a response that `more` continues."""
        self._out.limit = spool
        self.send(self.http.send_response(head, extra) + self.http.send_data(data))

    def more(self, data: bytes, *, complete: bool) -> None:
        """Send more content; LocalProtocolError if it ends before its Content-Length."""
        out = self.http.send_data(data)
        if complete:
            out += self.http.end()
        if out:
            self.send(out)
        if complete:
            self._on_answered()

    def end_response(self) -> None:
        """End a response whose content went through `sendfile`."""
        self.more(b"", complete=True)

    def _on_answered(self) -> None:
        """End the exchange; continue with the next request once the response is flushed."""
        self.exchange = None
        self.began_at = 0.0
        self._since = self._loop.now
        if self.closed or self._out.memory or self._broken:
            return
        if self.http.ready and not self._services.leaving:  # keep-alive and nothing buffered
            self.deadline = self._loop.now + self._services.timeouts.idle
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Close, wait for the next request, or start one that is already buffered."""
        if self.http.must_close:
            self._finish()
        elif self.http.buffered:
            self.resume()
        elif self._services.leaving:
            self.close()
        self._settle()

    # Reading and waiting

    def _on_flushed(self) -> None:
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
        return not self.http.must_close or bool(self._linger_until)

    # Ending

    def _finish(self) -> None:
        """Close once everything is sent; if the client may still be sending, linger first.

        Closing a socket that has unread bytes sends RST, which can destroy a response still in
        flight (RFC 9112 section 9.6). So shut down writing and keep reading for a while.
        """
        if self._out.memory:
            return
        if not self.http.unread:
            self.close()
        elif not self._linger_until:
            self._linger_until = self._loop.now + _LINGER
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.close()

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
        self.exchange = None
        if not self.closed:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close()

    def _gone(self) -> None:
        """Close after the client disconnected or timed out; log 499 for a running request."""
        exchange, self.exchange = self.exchange, None
        self.close()
        if exchange is not None:
            exchange.abandon(499)

    def _on_closed(self) -> None:
        self._out.clear()
        self._owner.on_client_closed(self)
