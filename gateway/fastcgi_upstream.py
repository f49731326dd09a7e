"""A connection to a FastCGI responder.

Most responses arrive in one read: a STDOUT record with the CGI head and the whole body, then
END_REQUEST. The gateway sends such a response with a Content-Length, in one send. Responders repeat
the same heads, so parsed heads are cached.
"""

from typing import Final

from chainlab.wire.cgi import find_end, parse_head
from chainlab.wire.fastcgi import (
    NEED_DATA,
    OVERLOADED,
    REQUEST_COMPLETE,
    ClientConnection,
    EndRequest,
    ProtocolError,
    Stderr,
    Stdout,
    encode_pair,
    encode_pairs,
)
from chainlab.wire.http1 import Fields, LocalProtocolError, RemoteProtocolError, ResponseHead
from chainlab.wire.http1.memo import Memo
from gateway.backend import Backend
from gateway.params import to_client
from gateway.upstream_connection import Lender, Requester, UpstreamConnection

_STDERR_LIMIT: Final = 65536  # maximum bytes logged per request

_heads: Final = Memo[ResponseHead]()


class FastCGIConnection(UpstreamConnection):
    """A keep-alive connection that carries one FastCGI request at a time."""

    __slots__ = ("_head", "_headed", "_limit", "_logged", "_protocol")

    def __init__(self, pool: Lender, backend: Backend) -> None:
        super().__init__(pool, backend)
        self._protocol = ClientConnection()
        self._limit = pool.config.limits.header_block
        self._head = b""  # a partial response head
        self._headed = False
        self._logged = 0

    def _send_request(self, exchange: Requester) -> None:
        self._head = b""
        self._headed = False
        self._logged = 0
        plan = exchange.plan
        if exchange.body is None and plan.request_id is None:
            if exchange.traced:
                ending = exchange.make_ending()
            else:
                before, after = exchange.ending
                ending = b"%b%b%b" % (before, exchange.request_id, after)
            self._send(self._protocol.begin_encoded(plan.start, ending))
            return
        varying = exchange.port_pair + encode_pair(b"HTTP_X_REQUEST_ID", exchange.request_id)
        if exchange.traced:
            varying += encode_pairs(exchange.trace_params())
        body = exchange.body
        content: bytes | None = b""
        if body is not None:
            if exchange.head.chunked:  # spooled, so the length is known
                varying += encode_pair(b"CONTENT_LENGTH", b"%d" % body.size)
            content = body.take_whole()
            self._content_ended = content is not None
        params = plan.params
        self._send(self._protocol.begin(params, keep_conn=True, body=content, varying=varying))

    def _encode_content(self, data: bytes, *, last: bool) -> bytes:
        records = self._protocol.send_stdin(data)
        return records + self._protocol.end_stdin() if last else records

    def _receive(self, exchange: Requester, data: bytes) -> None:
        protocol = self._protocol
        if not (self._headed or self._head):
            whole = protocol.receive_whole(data)
            if whole is not None:
                self._on_whole(exchange, whole)
                return
        protocol.receive_data(data)
        output = b""
        end: EndRequest | None = None
        try:
            while (event := protocol.next_event()) is not NEED_DATA:
                kind = type(event)
                if kind is Stdout:
                    output += event.data  # type: ignore[union-attr]
                elif kind is EndRequest:
                    end = event  # type: ignore[assignment]
                    break
                elif kind is Stderr:
                    self._log_stderr(event.data)  # type: ignore[union-attr]
        except ProtocolError as error:
            self.fail(502, f"FastCGI protocol error: {error}")
            return
        if end is not None and end.protocol_status != REQUEST_COMPLETE:
            self._refused(end.protocol_status)
        elif output or end is not None:
            self._on_output(exchange, output, complete=end is not None)

    def _on_whole(self, exchange: Requester, content: bytes) -> None:
        """Handle a response that arrived in one read; its head is often cached."""
        end = content.find(b"\r\n\r\n") + 4
        head = _heads.get(content[:end])
        if head is None and exchange.traced:
            head = _heads.get(exchange.strip_timing(content[:end]))
        if head is None:
            self._on_output(exchange, content, complete=True)
            return
        self._done(reusable=True)
        exchange.respond(head, content[end:], complete=True)

    def _on_output(self, exchange: Requester, data: bytes, *, complete: bool) -> None:
        head = None
        if not self._headed:
            data = self._head + data
            end = find_end(data)
            head = self._take_head(exchange, data, end, complete=complete)
            if head is None:
                return
            data = data[end:]
        if complete:
            self._done(reusable=self._protocol.reusable)
        if head is not None:
            exchange.respond(head, data, complete=complete)
        else:
            exchange.more(data, complete=complete)

    def _take_head(
        self, exchange: Requester, data: bytes, end: int, *, complete: bool
    ) -> ResponseHead | None:
        """Parse the head in `data[:end]`; None if it is incomplete or invalid."""
        if (end if end >= 0 else len(data)) > self._limit:
            self.fail(502, f"a response head longer than {self._limit} bytes")
            return None
        if end < 0 and complete:
            self.fail(502, "the response ended before the end of its head")
            return None
        if end < 0:
            self._head = data
            return None
        try:
            raw = data[:end]
            head = self._read_head(exchange.strip_timing(raw) if exchange.traced else raw)
        except RemoteProtocolError as error:
            self.fail(502, f"invalid response: {error.reason}")
            return None
        self._headed = True
        self._head = b""
        return head

    def _read_head(self, raw: bytes) -> ResponseHead:
        head = _heads.get(raw)
        if head is None:
            status, reason, fields = parse_head(raw)
            head = _for_client(status, reason, fields)
            _heads.keep(raw, head)
        return head

    def _refused(self, protocol_status: int) -> None:
        if protocol_status == OVERLOADED:
            self.fail(503, "the application is overloaded")
        else:
            self.fail(502, f"refused the request with protocol status {protocol_status}")

    def _receive_eof(self, _exchange: Requester) -> None:
        self.fail(502, "closed the connection before the end of the response")

    def _log_stderr(self, data: bytes) -> None:
        if self._logged < _STDERR_LIMIT:
            self._logged += len(data)
            for line in data.decode("utf-8", "replace").splitlines():
                self.pool.services.error_log.error(
                    f"upstream {self.pool.upstream.name}: {self.backend.address}: stderr: {line}"
                )

    # Giving up

    def abort(self) -> None:
        """Send ABORT_REQUEST (section 5.4); hold the slot until the request ends or times out.

        The connection is never reused. Its response may have crossed the abort, and libfcgi closes
        the connection on an ABORT_REQUEST without a request, which would lose the next request.
        """
        self.exchange = None
        if not self._connected:
            return  # nothing was sent; once connected, it serves the next exchange
        if self._out or self.closed:
            self.close()
            return
        self._aborting = True
        self._paused = False
        self._since = self._loop.now
        self._send(self._protocol.abort())
        self._settle()

    def _on_idle_data(self, data: bytes) -> None:
        if not data or not self._aborting:
            super()._on_idle_data(data)
            return
        self._protocol.receive_data(data)
        try:
            while (event := self._protocol.next_event()) is not NEED_DATA:
                if isinstance(event, EndRequest):
                    self._done(reusable=False)
                    return
        except ProtocolError:
            self.close()


def _for_client(status: int, reason: bytes | None, fields: Fields) -> ResponseHead:
    if status < 200:
        raise RemoteProtocolError(502, f"interim Status {status} instead of a final one")
    try:
        head = to_client(status, reason, fields)
        head.encode(minor=1, keep_alive=True, chunked=False)
    except LocalProtocolError as error:
        raise RemoteProtocolError(502, f"a header that cannot be forwarded: {error}") from None
    return head
