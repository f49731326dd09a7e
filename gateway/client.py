"""One client's connection: reads requests, hands each to an exchange, writes the answers.

The socket is tried at once for every answer; only what it does not take is kept, and then the
exchange is asked to stop (`over_high`) until the client has taken it. Reading stops for three
reasons only, all in `_wants_input`.

A client that closes while its request runs is gone, as for nginx: the upstream is freed. A
half-closed connection is taken for that too, because a FIN does not tell the two apart.
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
_LINGER: Final = 5.0  # seconds to read on after an answer that came before the request's end
_NEWCOMER: Final = 1.0  # seconds that one who has not asked yet is given while we leave
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, so that a cut is seen


class Exchange(Protocol):
    """One request in flight, as its client sees it."""

    head: RequestHead

    @property
    def body_full(self) -> bool:
        """Whether request content is to wait."""

    def on_body(self, data: bytes) -> None:
        """Request content came."""

    def on_body_end(self) -> None:
        """The request is complete."""

    def on_input_pause(self) -> None:
        """All content that has come was handed over; the next comes with the next read."""

    def on_drained(self) -> None:
        """The client has taken what it was sent: go on."""

    def abandon(self, status: int) -> None:
        """Free everything, log `status`; the client gets nothing from this exchange any more."""


class Client:
    """A connection accepted by a listener. Closes itself; `closed` says that it has."""

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
        self._stuck = False  # the socket took less than it was to take
        self.peer = peer
        self.port_pair = encode_pair(b"REMOTE_PORT", b"%d" % port)
        self.ending = encode_ending(self.port_pair, REQUEST_ID)
        self.trace_ending: tuple[Config, bytes] | None = None  # kept by `tracing`
        self.http = ServerConnection(process.site.config.limits)
        self.exchange: Exchange | None = None
        self.closed = False
        # When the head that is to come began: by being accepted, or by its first byte; 0: it has
        # not. While it is set the header timeout runs.
        self.began_at = self._loop.now
        self.deadline = self.began_at + process.site.config.timeouts.header
        self._loop.register(sock, READ, self.on_event)
        self._loop.watch(self)

    @property
    def idle(self) -> bool:
        """Whether nothing has come of a next request, and nothing is left of the last one."""
        return self.exchange is None and not self.http.buffered and not self._out

    @property
    def kept(self) -> bool:
        """True if the connection is idle between two requests."""
        return self.idle and not self.began_at

    # Events

    def on_event(self, mask: int) -> None:
        """React to what epoll saw."""
        if mask & BROKEN:
            self._gone()
            return
        if mask & WRITE:
            self._flush()
        if mask & READ and not self.closed:
            self._read(mask)

    def _read(self, mask: int) -> None:
        if not self._interest & READ & ~HANGUP:
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
        """Act on silence: 408 in the middle of a request, else close (RFC 9110 section 15.5.9)."""
        exchange = self.exchange
        if self._out or self._lingering or self.http.response_started or self.idle:
            self._gone()
            return
        what = "request head" if exchange is None else "request body"
        told = f"client {self.peer.remote}: the rest of a {what} did not come in time"
        self._process.error_log.info(told)
        if exchange is not None:
            self.exchange = None
            exchange.abandon(0)
        self.http.refuse()
        self.refuse(408, exchange.head if exchange else None)

    # Requests

    def advance(self) -> None:
        """Go through what has been received, as far as it may be answered now."""
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
                return  # the next request waits until the last answer has been taken
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
                continue  # content of a request that is answered already
            elif isinstance(event, Data):
                exchange.on_body(event.data)
            elif isinstance(event, EndOfMessage):
                self.deadline = NEVER
                exchange.on_body_end()

    def _await_more(self, exchange: Exchange | None) -> None:
        timeouts = self._process.site.config.timeouts
        if exchange is not None:
            self.deadline = self._loop.now + timeouts.body
            if self.http.awaiting_continue:
                self.send(self.http.send_continue())
            exchange.on_input_pause()
        elif self.http.buffered and not self.began_at:
            self.began_at = self._loop.now  # a slow sender gains nothing by sending more
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
        """Answer with an error of the gateway's own, and log it.

        An exchange that failed adds ready field lines, and logs (status, size) itself.
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
        """Send a short answer of the gateway's own, and log it."""
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
        """The exchange is over: go on once the client has taken the answer."""
        self.exchange = None
        self.began_at = 0.0
        if self.closed or self._out:
            return
        if self.http.ready:  # the usual case: kept, and nothing has come yet
            self.deadline = self._loop.now + self._process.site.config.timeouts.idle
            if self._process.leaving:
                self.close()
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Close, or wait for the next request, or take up one that has come already."""
        if self.http.must_close:
            self._finish()
            return
        self.deadline = self._loop.now + self._process.site.config.timeouts.idle
        if self.http.buffered:
            self.advance()
        elif self._process.leaving:
            self.close()

    # Sending

    @property
    def over_high(self) -> bool:
        """Whether so much waits for the client that the source should pause."""
        return len(self._out) >= HIGH

    @property
    def waiting(self) -> bool:
        """Whether anything waits for the client to take it."""
        return bool(self._out)

    def send(self, data: bytes) -> None:
        """Send `data`, or keep what the socket does not take now."""
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
        """Return how many bytes of `fd` went out by sendfile(2); None when the socket is full."""
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
        """Have `on_drained` called when the socket takes bytes again."""
        self.deadline = self._loop.now + self._process.site.config.timeouts.send
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
            self.deadline = self._loop.now + self._process.site.config.timeouts.send
        self.deadline = NEVER
        self._stuck = False
        self._watch()
        if self.exchange is not None:
            self.exchange.on_drained()
        else:
            self._go_on()

    def _wants_input(self) -> bool:
        """Whether to read from the client now; the reasons not to, one by one."""
        if self.http.buffered >= HIGH:
            return False  # pipelined requests beyond what we keep
        if self.exchange is not None and self.exchange.body_full:
            return False  # the upstream does not take the body as fast as it comes
        return not self.http.must_close or self._lingering

    def _watch(self) -> None:
        interest = READ if self._wants_input() else HANGUP
        if self._stuck:
            interest |= WRITE
        if interest != self._interest and not self.closed:
            self._interest = interest
            self._loop.modify(self._sock, interest)

    def resume(self) -> None:
        """Read on: the exchange takes request content again."""
        self.advance()

    # Ending

    def _finish(self) -> None:
        """Close once all has been sent; read on a while when the client may still be sending.

        Closing a socket with unread bytes sends RST, and the client may lose the answer that is
        on its way (RFC 9112 section 9.6).
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
        """Close when nothing runs; else after the answer."""
        if self.kept:
            self.close()
        elif self.idle:
            self.deadline = min(self.deadline, self._loop.now + _NEWCOMER)
        elif not self.http.response_started:
            self.http.keep_alive = False

    def give_up(self) -> None:
        """End exchange and connection, whatever state they are in."""
        exchange, self.exchange = self.exchange, None
        self.cut()
        if exchange is not None:
            exchange.abandon(0)

    def cut(self) -> None:
        """End the connection so that no client takes what it got for the whole answer."""
        if not self.closed:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close()

    def _gone(self) -> None:
        """The client has left, or is given up."""
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
