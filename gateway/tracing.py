"""What the gateway tells of a request while it runs; off unless the configuration asks for it.

The client, where its time went, in the answer's head (W3C Server Timing); milliseconds:

    Server-Timing: worker-wait;dur=0.041, worker-app;dur=0.112, gw-accept;dur=0.064,
                   gw-queue;dur=0, gw-connect;dur=0, gw-first-byte;dur=0.418

gw-accept is from accept(2), or from the first byte of a later request, to the end of the request's
head; gw-queue the wait for a free connection to the upstream; gw-connect what connecting took;
gw-first-byte from then to the first byte of the answer, so the upstream's own parts, which stand
before, lie within it. The part in which a request failed has the time until then.

The upstream, when it was asked (X-Request-Start, as nginx's users send it) and in whose name
(`traceparent`: the client's trace, or a new one, with a span of the gateway's own).

The loop reads the clock once for all that one epoll_wait reports, so telling costs no system call,
and what lies between two steps of one batch counts as nothing.
"""

import re
import time
from random import getrandbits
from typing import TYPE_CHECKING, Final

from gateway.client import Client
from gateway.exchange import ProxyExchange
from gateway.params import Prepared
from wire.fastcgi import encode_pair
from wire.http1 import RequestHead
from wire.trace_context import TRACEPARENT_LENGTH, make_traceparent

if TYPE_CHECKING:
    from gateway.pool import Pool
    from gateway.process import Process

_NAMES: Final = (b"gw-accept", b"gw-queue", b"gw-connect", b"gw-first-byte")
_USUAL: Final = b"gw-accept;dur=0, gw-queue;dur=0, gw-connect;dur=0, gw-first-byte;dur=%.3f"
_LAST_TIMING: Final = re.compile(rb"\r\nServer-Timing: ([\x21-\x7e][\x20-\x7e]*)\r\n\r\n")


def _prefix(name: bytes, length: int) -> bytes:
    """Return what stands before a value of `length` bytes in an encoded pair."""
    return encode_pair(name, bytes(length))[:-length]


_START_LENGTH: Final = len("t=1764547200.000000")
_START_PAIR: Final = _prefix(b"HTTP_X_REQUEST_START", _START_LENGTH) + b"t=%.6f"
_TRACE_PAIR: Final = _prefix(b"HTTP_TRACEPARENT", TRACEPARENT_LENGTH)


class TracedExchange(ProxyExchange):
    """An exchange that tells its client and its upstream of itself."""

    __slots__ = ("_sampled", "_span_id", "_timed", "_trace_id", "_traceparent", "_upstream_timing")

    tells = True

    def __init__(
        self,
        process: "Process",
        client: Client,
        head: RequestHead,
        prepared: Prepared,
        pool: "Pool",
    ) -> None:
        super().__init__(process, client, head, prepared, pool)
        self._timed = pool.config.server_timing
        self._upstream_timing = b""
        self._traceparent = b""
        if not pool.config.traceparent:
            return
        # An id of zeros is no id (section 3.2.2).
        self._span_id = b"%016x" % (getrandbits(64) or 1)
        trace = prepared.trace
        if trace is not None:
            self._trace_id, _, self._sampled = trace
        else:
            self._trace_id, self._sampled = b"%032x" % (getrandbits(128) or 1), True
        self._traceparent = make_traceparent(self._trace_id, self._span_id, sampled=self._sampled)

    # The upstream

    def params_of_its_own(self) -> bytes:
        """Return HTTP_X_REQUEST_START and HTTP_TRACEPARENT, as far as they are wanted."""
        pairs = _START_PAIR % time.time() if self._timed else b""
        return pairs + _TRACE_PAIR + self._traceparent if self._traceparent else pairs

    def fields_of_its_own(self) -> bytes:
        """Return the same as field lines."""
        lines = b"X-Request-Start: t=%.6f\r\n" % time.time() if self._timed else b""
        if self._traceparent:
            lines += b"traceparent: %b\r\n" % self._traceparent
        return lines

    def take_timing(self, head: bytes) -> bytes:
        """Keep the value of a Server-Timing at the end of `head`; return the head without it.

        It differs each time, and without it the head is one that has come before.
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
        told = self._upstream_timing
        if self._timed:
            told = b"%b, %b" % (told, self._parts()) if told else self._parts()
        return b"Server-Timing: %b\r\n" % told if told else b""

    def _parts(self) -> bytes:
        connected = self.connected_at
        if connected == self.began_at and self.first_byte_at:  # kept, free, in one read
            return _USUAL % ((self.first_byte_at - connected) * 1000)
        told = zip(_NAMES, self.durations(), strict=False)
        return b", ".join([b"%b;dur=%.3f" % (n, s * 1000) for n, s in told if s is not None])

    def _refuse(self, status: int, extra: bytes = b"") -> None:
        id_field = b"X-Request-Id: %b\r\n" % self.request_id
        super()._refuse(status, extra + id_field + self.timing_field())

    # The access log

    def _members(self, *, cut: bool) -> str:
        members = super()._members(cut=cut)
        if not self._traceparent:
            return members
        trace = self.prepared.trace
        parent = f'"{trace.span_id.decode()}"' if trace else "null"
        return (
            f'{members}, "trace": "{self._trace_id.decode()}", "span": "{self._span_id.decode()}", '
            f'"parent": {parent}, "sampled": {"true" if self._sampled else "false"}'
        )
