"""Adds timing and trace context to requests and responses, if the configuration asks for it.

Clients get the time spent in each part, in milliseconds (W3C Server Timing):

    Server-Timing: worker-wait;dur=0.041, worker-app;dur=0.112, gw-accept;dur=0.064,
                   gw-queue;dur=0, gw-connect;dur=0, gw-first-byte;dur=0.418

gw-accept      from accept(2), or the first byte of a later request, to the end of the request head
gw-queue       waiting for a free connection to the upstream
gw-connect     connecting
gw-first-byte  from then to the first response byte; includes the upstream's own parts, listed first

If a request fails, its last part runs until the failure.

Upstreams get the time of the request (X-Request-Start, in Apache's format) and the trace context
(`traceparent`: the client's trace or a new one, with a span id of the gateway's own).

The loop reads the clock once per batch of events, so the parts cost no system call, and the time
between two steps in the same batch counts as 0.
"""

import re
from collections.abc import Callable
from random import getrandbits
from time import time_ns
from typing import Final

from chainlab.wire.fastcgi import encode_ending
from chainlab.wire.http1 import RequestHead, ResponseHead
from chainlab.wire.trace_context import TRACEPARENT_LENGTH, make_traceparent
from gateway.client import Client
from gateway.exchange import ProxyExchange
from gateway.params import REQUEST_ID, RequestPlan
from gateway.pool import Pool
from gateway.services import Services
from gateway.serving import ResponseFilter, ResponseSink

_NAMES: Final = (b"gw-accept", b"gw-queue", b"gw-connect", b"gw-first-byte")
_SPENT: Final = [
    b", ".join(b"%b;dur=%%.3f" % name for name in _NAMES[:n]) for n in range(len(_NAMES) + 1)
]
"""The gateway's parts, indexed by how many of them the request reached."""

_USUAL: Final = b"gw-accept;dur=0, gw-queue;dur=0, gw-connect;dur=0, gw-first-byte;dur=%.3f"
_LAST_TIMING: Final = re.compile(rb"\r\nServer-Timing: ([\x21-\x7e][\x20-\x7e]*)\r\n\r\n")


_START: Final = (b"HTTP_X_REQUEST_START", len("t=1764547200000000"))
_NO_ZEROS: Final = 1 << 191 | 1 << 63  # an all-zero id is invalid (section 3.2.2)
_TRACEPARENT: Final = (b"HTTP_TRACEPARENT", TRACEPARENT_LENGTH)


class TracedExchange(ProxyExchange):
    """An exchange that sends timing and trace context."""

    __slots__ = ("_timed", "_traceparent", "_upstream_timing")

    traced = True

    def __init__(
        self, services: Services, client: Client, head: RequestHead, plan: RequestPlan, pool: Pool
    ) -> None:
        super().__init__(services, client, head, plan, pool)
        self._timed = pool.config.server_timing
        self.output = ServerTiming(client, self)
        self._upstream_timing = b""
        self._traceparent = b""
        if pool.config.traceparent:
            digits = b"%048x" % (getrandbits(192) | _NO_ZEROS)
            trace = plan.trace
            self._traceparent = make_traceparent(
                trace.trace_id if trace else digits[:32],
                digits[32:],
                sampled=trace.sampled if trace else True,
            )

    # The upstream

    def trace_params(self) -> list[tuple[bytes, bytes]]:
        """Return HTTP_X_REQUEST_START and HTTP_TRACEPARENT, if enabled."""
        start = [(_START[0], _now())] if self._timed else []
        trace = [(_TRACEPARENT[0], self._traceparent)] if self._traceparent else []
        return start + trace

    def make_ending(self) -> bytes:
        """Return the final records of a bodiless request."""
        kept = self.client.trace_ending
        frame = kept[1] if kept and kept[0] is self._pool.config else self._make_frame()
        if not self._timed:
            return frame % (self.request_id, self._traceparent)
        if not self._traceparent:
            return frame % (self.request_id, _now())
        return frame % (self.request_id, _now(), self._traceparent)

    def _make_frame(self) -> bytes:
        """Return the final records with `%b` for each value; cache them with the client."""
        params = [REQUEST_ID]
        params += [_START] if self._timed else []
        params += [_TRACEPARENT] if self._traceparent else []
        pieces = encode_ending(self.client.port_pair, *params)
        frame = b"%b".join([piece.replace(b"%", b"%%") for piece in pieces])
        self.client.trace_ending = (self._pool.config, frame)
        return frame

    def trace_fields(self) -> bytes:
        """Return what `trace_params` returns, as HTTP field lines."""
        lines = b"X-Request-Start: %b\r\n" % _now() if self._timed else b""
        if self._traceparent:
            lines += b"traceparent: %b\r\n" % self._traceparent
        return lines

    def strip_timing(self, head: bytes) -> bytes:
        """Store the value of a trailing Server-Timing field; return `head` without the field.

        The value changes with every response; without the field, the head hits the cache.
        """
        at = head.rfind(b"\r\nServer-Timing: ")
        match = _LAST_TIMING.fullmatch(head, at) if at > 0 else None
        if match is None:
            return head
        self._upstream_timing = match[1]
        return head[: at + 2] + b"\r\n"

    # The client

    def timing_field(self) -> bytes:
        """Return Server-Timing: the upstream's parts, then the gateway's."""
        timing = self._upstream_timing
        if self._timed:
            timing = b"%b, %b" % (timing, self._parts()) if timing else self._parts()
        return b"Server-Timing: %b\r\n" % timing if timing else b""

    def _parts(self) -> bytes:
        connected = self.connected_at
        if connected == self.began_at and self.first_byte_at:  # the common case
            return _USUAL % ((self.first_byte_at - connected) * 1000)
        spent = self.milliseconds(self._services.loop.now)[: len(_NAMES)]
        return _SPENT[len(spent)] % tuple(spent)

    # The access log

    def _members(self, *, cut: bool) -> str:
        members = super()._members(cut=cut)
        if not self._traceparent:
            return members
        trace, own = self.plan.trace, self._traceparent.decode()
        parent = f'"{trace.span_id.decode()}"' if trace else "null"
        sampled = "true" if own.endswith("1") else "false"
        return (
            f'{members}, "trace": "{own[3:35]}", "span": "{own[36:52]}", '
            f'"parent": {parent}, "sampled": {sampled}'
        )


class ServerTiming(ResponseFilter):
    """Adds the Server-Timing field to the response of a traced exchange."""

    __slots__ = ("_exchange",)

    def __init__(self, following: ResponseSink, exchange: TracedExchange) -> None:
        super().__init__(following)
        self._exchange = exchange

    def respond(self, head: ResponseHead, data: bytes, extra: bytes) -> None:
        """Pass on a whole response with the field."""
        self._next.respond(head, data, extra + self._exchange.timing_field())

    def begin_response(self, head: ResponseHead, data: bytes, extra: bytes, *, spool: int) -> None:
        """Pass on the begin of a response with the field."""
        extra += self._exchange.timing_field()
        self._next.begin_response(head, data, extra, spool=spool)

    def refuse(
        self,
        status: int,
        head: RequestHead | None,
        why: str = "",
        *,
        extra: bytes = b"",
        log: Callable[[int, int], None] | None = None,
    ) -> None:
        """Pass on an error response with the field and the request id."""
        exchange = self._exchange
        extra += b"X-Request-Id: %b\r\n" % exchange.request_id + exchange.timing_field()
        self._next.refuse(status, head, why, extra=extra, log=log)


def _now() -> bytes:
    """Return the X-Request-Start value: microseconds, like Apache's %t."""
    return b"t=%d" % (time_ns() // 1000)
