"""One request on its way through the gateway: from the client to an upstream and back.

The exchange talks to the client and to the upstream connection through the few methods below and
does not depend on the upstream's protocol. Every failure ends in `fail`. Before the first response
byte is out, the exchange retries once on another connection or sends an error status. After that,
it resets the client's connection: a partial response must never look complete.
"""

from typing import TYPE_CHECKING, ClassVar, Final

from chainlab.wire.http1 import LocalProtocolError, RequestHead, ResponseHead
from gateway.body import Body
from gateway.client import Client
from gateway.params import RequestPlan
from gateway.timeline import Timeline

if TYPE_CHECKING:
    from gateway.pool import Backend, Pool
    from gateway.process import Process
    from gateway.upstream_connection import UpstreamConnection

_REPEATABLE: Final = frozenset((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"))
"""Methods that may be sent twice without harm (RFC 9110 section 9.2.2)."""


class ProxyExchange(Timeline):
    """A request that goes to an upstream."""

    traced: ClassVar[bool] = False
    """True if this class adds timing or trace fields beyond the request id (`tracing`)."""

    __slots__ = (
        "_pool",
        "_process",
        "_sent",
        "_started",
        "_status",
        "body",
        "client",
        "connection",
        "head",
        "plan",
        "request_id",
        "retried",
        "tried",
    )

    def __init__(
        self,
        process: "Process",
        client: Client,
        head: RequestHead,
        plan: RequestPlan,
        pool: "Pool",
    ) -> None:
        self._process = process
        self.client = client
        self._pool = pool
        self._status = 0
        self._sent = 0  # bytes of content
        self._started = False  # the response head is on its way: no error status possible now
        self.retried = False
        self.head = head
        self.plan = plan
        self.request_id = plan.request_id or process.next_request_id()
        self.connection: UpstreamConnection | None = None
        self.body: Body | None = None
        self.tried: tuple[Backend, ...] = ()  # backends that refused a connection
        self.started_at = process.loop.now
        self.began_at = client.began_at or self.started_at  # start of the request head
        self.submitted_at = self.assigned_at = self.connected_at = self.first_byte_at = 0.0

    def begin(self) -> None:
        """Submit the request now, or once enough of its body has arrived."""
        self._pool.exchanges += 1
        if self.head.has_body:
            self.client.http.limit_body(self.plan.body_limit)
            spooled = self.head.chunked and self._pool.upstream.protocol == "fastcgi"
            self.body = Body(spooled=spooled)
        else:
            self._submit()

    def _submit(self) -> None:
        self.submitted_at = self._process.loop.now
        self._pool.submit(self)

    # Hooks for `tracing`, called only if `traced` is true

    def timing_field(self) -> bytes:
        """Return the Server-Timing field line for the client."""
        return b""

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

    # From the client

    @property
    def body_full(self) -> bool:
        """True if the upstream reads the body too slowly and the client must pause."""
        return self.body is not None and self.body.full

    def on_body(self, data: bytes) -> None:
        """Buffer a piece of the request body."""
        assert self.body is not None
        self.body.append(data)

    def on_body_end(self) -> None:
        """Mark the request body as complete."""
        if self.body is not None:
            self.body.finish()
            self.on_input_pause()

    def on_input_pause(self) -> None:
        """Submit the request if the body is ready, or forward what has arrived."""
        if self.body is None or not self.body.ready:
            return
        if not self.submitted_at:
            self._submit()
        elif self.connection is not None:
            self.connection.pump()

    def on_drained(self) -> None:
        """Resume reading from the upstream: the client has caught up."""
        if self.connection is not None:
            self.connection.resume()

    def abandon(self, status: int) -> None:
        """Release the upstream; log `status` unless 0. The client is gone or has its response."""
        if self.connection is not None:
            self.connection.abort()
            self.connection = None
        elif self.submitted_at:
            self._pool.cancel(self)
        if status:
            self._status = self._status or status
            self._log(cut=True)
        self._end()

    # From the upstream

    def on_content_taken(self) -> None:
        """Resume the client: the upstream accepted body bytes, so there is room for more."""
        self.client.resume()

    def respond(self, head: ResponseHead, data: bytes, *, complete: bool) -> None:
        """Send the response head and the first body bytes; `complete` means all of them."""
        process, client = self._process, self.client
        http = client.http
        if process.leaving or (self.body is not None and not self.body.complete):
            http.keep_alive = False  # the rest of the request stays unread
        extra = b"Date: %b\r\nX-Request-Id: %b\r\n" % (process.loop.date, self.request_id)
        if self.traced:
            extra += self.timing_field()
        if head.content_length is not None or head.bodyless:
            data = self._clip(head, data)
        self._status = head.status
        if not complete or self.head.method == b"HEAD":
            self._begin_response(head, data, extra, complete=complete)
            return
        self._sent = len(data)
        try:
            out = http.send_complete(head, data, extra)
        except LocalProtocolError as error:
            self.fail(502, f"incomplete response: {error}")
            return
        client.send(out)
        if client.exchange is self:
            self._finish()

    def _begin_response(
        self, head: ResponseHead, data: bytes, extra: bytes, *, complete: bool
    ) -> None:
        """Send the head of a response whose body follows later or is omitted (HEAD)."""
        http = self.client.http
        if self.head.method == b"HEAD":
            data = b""
        self._sent = len(data)
        self._started = True
        out = http.send_response(head, extra) + http.send_data(data)
        self.client.send(out + http.end() if complete else out)
        self._after_send(complete=complete)

    def more(self, data: bytes, *, complete: bool) -> None:
        """Send more of the body; `complete` marks the last piece."""
        http = self.client.http
        if http.content_left is not None and len(data) > http.content_left:
            data = data[: http.content_left]
            self._warn("more content than Content-Length; the rest is dropped")
        out = http.send_data(data)
        self._sent += len(data) if out else 0  # a response to HEAD has none
        if complete:
            try:
                out += http.end()
            except LocalProtocolError as error:
                self.fail(502, f"incomplete response: {error}")
                return
        if out:
            self.client.send(out)
        self._after_send(complete=complete)

    def _clip(self, head: ResponseHead, data: bytes) -> bytes:
        """Drop body bytes that `head` does not allow."""
        if head.bodyless:
            return b""
        length = head.content_length
        if length is not None and len(data) > length and self.head.method != b"HEAD":
            self._warn("more content than Content-Length; the rest is dropped")
            return data[:length]
        return data

    def _after_send(self, *, complete: bool) -> None:
        if self.client.exchange is not self:
            return  # the send failed: the client is gone
        if complete:
            self._finish()
        elif self.client.over_high and self.connection is not None:
            self.connection.pause()

    def _finish(self) -> None:
        self.connection = None
        if self._process.access_log.enabled:
            self._log(cut=False)
        self._end()
        self.client.on_answered()

    # When something goes wrong

    def on_unreachable(self, backend: "Backend", status: int, cause: str) -> None:
        """Try the next backend after a failed connect; fail if none is left."""
        self.connection = None
        self.tried += (backend,)
        if self._pool.has_other(self):
            self._warn(f"{backend.address}: {cause}; trying the next address")
            self._pool.submit(self)
        else:
            self.fail(status, f"{backend.address}: {cause}")

    def fail(self, status: int, cause: str, *, again: bool = False) -> None:
        """Handle an upstream failure; the upstream connection is already closed.

        `again`: no response byte arrived, so a new connection or another backend may succeed. As
        with nginx's proxy_next_upstream, only an idempotent request is retried, and only once.
        """
        self.connection = None
        if again and self._may_repeat():
            self.retried = True
            self.restart()
            self._submit()
            return
        self._process.error_log.error(self._describe(cause))
        self._end()
        if self._started:
            self._log(cut=True)
            self.client.exchange = None
            self.client.cut()
        else:
            self._refuse(status)

    def _refuse(self, status: int, extra: bytes = b"") -> None:
        self.client.refuse(status, self.head, extra=extra, log=self._log_refusal)

    def _log_refusal(self, status: int, size: int) -> None:
        self._status, self._sent = status, size
        self._log(cut=False)

    def _may_repeat(self) -> bool:
        if self.retried or self._started or self.head.method not in _REPEATABLE:
            return False
        return self.body is None or self.body.rewind()

    def _warn(self, cause: str) -> None:
        self._process.error_log.warn(self._describe(cause))

    def _describe(self, cause: str) -> str:
        method, target = self.head.method.decode(), self.head.target.decode()
        name = self._pool.upstream.name
        return f"upstream {name}: {cause} ({method} {target}, id {self.request_id.decode()})"

    def _end(self) -> None:
        self._pool.exchanges -= 1
        if self.body is not None:
            self.body.close()

    def _log(self, *, cut: bool) -> None:
        log = self._process.access_log
        if not log.enabled:
            return
        remote, head = self.plan.peer.remote, self.plan.log
        if log.json:
            log.record(remote, head, self._status, self._sent, self._members(cut=cut))
        else:
            log.combined(remote, head, self._status, self._sent)

    def _members(self, *, cut: bool) -> str:
        """Return the members of a JSON log line beyond head and status."""
        return self.members(self._process.loop, self.request_id, self._pool.upstream.name, cut=cut)
