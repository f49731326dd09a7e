"""One request on its way through the gateway: from the client to an upstream and back.

The exchange talks to the client and to the upstream connection through the few methods below and
does not depend on the upstream's protocol. It is in one of these states:

    RECEIVING ──> QUEUED ──> ANSWERING ──> ENDED
        │           │ ^ retry    │           ^
        └───────────┴─┴──────────┴───────────┘

RECEIVING  waits for (enough of) the request body; the client has the time limit
QUEUED     is the pool's or a connection's; no byte of the response has been sent
ANSWERING  the head is sent: a failure can only reset the client's connection, because a partial
           response must never look complete
ENDED      is logged and has released everything; exactly once

`failure.may_retry` is the one policy for failures before ANSWERING.
"""

import errno
from enum import Enum, auto
from typing import Final

from chainlab.wire.http1 import LocalProtocolError, RequestHead, ResponseHead
from gateway.backend import Backend
from gateway.body import Body
from gateway.client import Client
from gateway.failure import Failure, Kind, may_retry
from gateway.params import RequestPlan, is_stream
from gateway.pool import Pool
from gateway.services import Services
from gateway.serving import Exchange, ResponseSink
from gateway.spool import SpoolFull
from gateway.upstream_connection import Requester, UpstreamConnection

_NO_SPACE: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class State(Enum):
    """Where a request is: see the table above."""

    RECEIVING = auto()
    QUEUED = auto()
    ANSWERING = auto()
    ENDED = auto()


_RECEIVING, _QUEUED, _ANSWERING, _ENDED = State


class ProxyExchange(Requester, Exchange):
    """A request that goes to an upstream."""

    __slots__ = (
        "_pool",
        "_sent",
        "_services",
        "_state",
        "_status",
        "body",
        "client",
        "connection",
        "ending",
        "head",
        "output",
        "plan",
        "port_pair",
        "request_id",
        "retried",
        "tried",
    )

    def __init__(
        self, services: Services, client: Client, head: RequestHead, plan: RequestPlan, pool: Pool
    ) -> None:
        self._services = services
        self.client = client
        self.output: ResponseSink = client  # or the first response filter before it
        self.port_pair = client.port_pair
        self.ending = client.ending
        self._pool = pool
        self._state = _RECEIVING
        self._status = 0
        self._sent = 0  # bytes of content
        self.retried = False
        self.head = head
        self.plan = plan
        self.request_id = plan.request_id or services.next_request_id()
        self.connection: UpstreamConnection | None = None
        self.body: Body | None = None
        self.tried: tuple[Backend, ...] = ()  # backends that refused a connection
        self.started_at = services.loop.now
        self.began_at = client.began_at or self.started_at  # start of the request head
        self.submitted_at = self.assigned_at = self.connected_at = self.first_byte_at = 0.0

    def begin(self) -> None:
        """Submit the request now, or once enough of its body has arrived."""
        self._pool.exchanges += 1
        if self.head.has_body:
            self.client.http.limit_body(self.plan.body_limit)
            upstream = self._pool.upstream
            buffered = upstream.request_buffering or (
                self.head.chunked and upstream.protocol == "fastcgi"
            )
            self.body = Body(self._services.spool_space, buffered=buffered)
        else:
            self._state = _QUEUED
            self.submitted_at = self.started_at
            self._pool.submit(self)

    def _submit(self) -> None:
        if self._state is _ENDED:
            return  # its client left before a retry
        self._state = _QUEUED
        self.submitted_at = self._services.loop.now
        self._pool.submit(self)

    # From the client

    @property
    def body_full(self) -> bool:
        """True if the upstream reads the body too slowly and the client must pause."""
        return self.body is not None and self.body.full

    def on_body(self, data: bytes) -> None:
        """Buffer a piece of the request body; fail the request if there is no room for it."""
        assert self.body is not None
        try:
            self.body.append(data)
        except OSError as error:
            self._fail(507 if error.errno in _NO_SPACE else 503, _describe_spool(error))

    def on_body_end(self) -> None:
        """Mark the request body as complete."""
        if self.body is not None:
            self.body.finish()
            self.on_input_pause()

    def on_input_pause(self) -> None:
        """Submit the request if the body is ready, or forward what has arrived."""
        if self.body is None or not self.body.ready:
            return
        if self._state is _RECEIVING:
            self._submit()
        elif self.connection is not None:
            self.connection.pump()

    def on_drained(self) -> None:
        """Resume reading from the upstream: the client has caught up."""
        if self.connection is not None:
            self.connection.resume()

    def abandon(self, status: int) -> None:
        """Release the upstream; log `status` unless 0. The client is gone or has its response."""
        if self._state is _ENDED:
            return
        self._release()
        if status:
            self._status = self._status or status
            self._log(cut=True)
        self._end()

    def _release(self) -> None:
        if self.connection is not None:
            self.connection.abort()
            self.connection = None
        elif self._state is _QUEUED:
            self._pool.cancel(self)

    # From the upstream

    def on_content_taken(self) -> None:
        """Resume the client: the upstream accepted body bytes, so there is room for more."""
        self.client.resume()

    def respond(self, head: ResponseHead, data: bytes, *, complete: bool) -> None:
        """Send the response head and the first body bytes; `complete` means all of them."""
        services, client = self._services, self.client
        if services.leaving or (self.body is not None and not self.body.complete):
            client.http.keep_alive = False  # the rest of the request stays unread
        extra = b"Date: %b\r\nX-Request-Id: %b\r\n" % (services.loop.date, self.request_id)
        if head.content_length is not None or head.bodyless or self.head.method == b"HEAD":
            data = self._clip(head, data)
        self._status = head.status
        self._sent = len(data)
        if not complete:
            self._begin_response(head, data, extra)
            return
        try:
            self.output.respond(head, data, extra)
        except LocalProtocolError as error:
            self._fail(502, f"incomplete response: {error}")
            return
        self._finish()

    def _begin_response(self, head: ResponseHead, data: bytes, extra: bytes) -> None:
        pool = self._pool
        buffered = pool.upstream.response_buffering and not is_stream(head)
        self._state = _ANSWERING
        spool = pool.config.spool_response if buffered else 0
        self.output.begin_response(head, data, extra, spool=spool)
        self._pause_if_full()

    def more(self, data: bytes, *, complete: bool) -> None:
        """Send more of the body; `complete` marks the last piece."""
        http = self.client.http
        left = http.content_left
        if not http.has_content:
            data = b""
        elif left is not None and len(data) > left:
            data = data[:left]
            self._warn("more content than Content-Length; the rest is dropped")
        self._sent += len(data)
        try:
            self.output.more(data, complete=complete)
        except LocalProtocolError as error:
            self._fail(502, f"incomplete response: {error}")
            return
        if complete:
            self._finish()
        else:
            self._pause_if_full()

    def _clip(self, head: ResponseHead, data: bytes) -> bytes:
        """Drop body bytes that `head` does not allow."""
        if head.bodyless or self.head.method == b"HEAD":
            return b""
        length = head.content_length
        if length is not None and len(data) > length:
            self._warn("more content than Content-Length; the rest is dropped")
            return data[:length]
        return data

    def _pause_if_full(self) -> None:
        if self.client.over_high and self.connection is not None:
            self.connection.pause()

    def _finish(self) -> None:
        if self._services.access_log.enabled:
            self._log(cut=False)
        self._end()

    # When something goes wrong

    def on_failure(self, failure: Failure) -> None:
        """Retry after this batch, send an error status, or cut the response off."""
        self.connection = None
        if self._state is _ENDED:
            return
        if self._state is _QUEUED and self._may_retry(failure):
            self._services.loop.soon(self._submit)
            return
        address = f"{failure.backend.address}: " if failure.backend else ""
        self._fail(failure.status, f"{address}{failure.cause}")

    def _may_retry(self, failure: Failure) -> bool:
        """Apply the policy, and note the attempt."""
        refused = failure.backend if failure.kind is Kind.REFUSED else None
        if refused:
            self.tried += (refused,)
            others = self._pool.has_other(self)
        else:
            others = self._pool.several
        if not may_retry(failure, self.head.method, retried=self.retried, others=others):
            return False
        if refused:
            self._warn(f"{refused.address}: {failure.cause}; trying the next address")
            return True
        if self.body is not None and not self.body.rewind():
            return False
        self.retried = True
        self.restart()
        return True

    def _fail(self, status: int, cause: str) -> None:
        """Log the failure; send `status`, or cut the response off if it has begun."""
        self._services.error_log.error(self._describe(cause))
        self._release()
        answering = self._state is _ANSWERING
        self._end()
        if answering:
            self._log(cut=True)
            self.client.cut()
            return
        if self.body is not None and not self.body.complete:
            self.client.http.keep_alive = False  # the rest of the request stays unread
        self.output.refuse(status, self.head, log=self._log_refusal)

    def _log_refusal(self, status: int, size: int) -> None:
        self._status, self._sent = status, size
        self._log(cut=False)

    def _warn(self, cause: str) -> None:
        self._services.error_log.warn(self._describe(cause))

    def _describe(self, cause: str) -> str:
        method, target = self.head.method.decode(), self.head.target.decode()
        name = self._pool.upstream.name
        return f"upstream {name}: {cause} ({method} {target}, id {self.request_id.decode()})"

    def _end(self) -> None:
        self._state = _ENDED
        self._pool.exchanges -= 1
        if self.body is not None:
            self.body.close()

    def _log(self, *, cut: bool) -> None:
        log = self._services.access_log
        if not log.enabled:
            return
        remote, head = self.plan.peer.remote, self.plan.log
        if log.json:
            log.record(remote, head, self._status, self._sent, self._members(cut=cut))
        else:
            log.combined(remote, head, self._status, self._sent)

    def _members(self, *, cut: bool) -> str:
        """Return the members of a JSON log line beyond head and status."""
        loop, upstream = self._services.loop, self._pool.upstream.name
        return self.members(loop, self.request_id, upstream, cut=cut)


def _describe_spool(error: OSError) -> str:
    why = str(error) if isinstance(error, SpoolFull) else error.strerror
    return f"cannot buffer the request body: {why}"
