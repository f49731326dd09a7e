"""A connection to an HTTP/1.1 backend.

`chainlab.wire.http1` parses the response, and the gateway frames it anew for the client. The
client never sees the backend's framing, so both ends agree on where a response ends.
"""

from chainlab.wire.http1 import (
    ClientConnection,
    Data,
    EndOfMessage,
    Limits,
    LocalProtocolError,
    RemoteProtocolError,
    ResponseHead,
)
from gateway.backend import Backend
from gateway.params import to_client
from gateway.upstream_connection import Lender, Requester, UpstreamConnection


class HttpConnection(UpstreamConnection):
    """A keep-alive connection to an HTTP server."""

    __slots__ = ("_head", "_protocol")

    def __init__(self, pool: Lender, backend: Backend) -> None:
        super().__init__(pool, backend)
        limit = pool.config.limits.header_block  # in bytes, as for FastCGI; any number of fields
        self._protocol = ClientConnection(
            Limits(header_block=limit, fields=limit, body=None, chunk_overhead=None)
        )
        self._head: ResponseHead | None = None  # received, not yet passed to the exchange

    def _send_request(self, exchange: Requester) -> None:
        self._head = None
        plan = exchange.plan
        extra = b"X-Request-Id: %b\r\n" % exchange.request_id
        if exchange.traced:
            extra += exchange.trace_fields()
        head = self._protocol.send_request(exchange.head.method, plan.target, plan.fields, extra)
        content = exchange.body.take_whole() if exchange.body is not None else None
        if content is not None:
            self._content_ended = True
            head += self._encode_content(content, last=True)
        self._send(head)

    def _encode_content(self, data: bytes, *, last: bool) -> bytes:
        framed = self._protocol.send_data(data)
        return framed + self._protocol.end() if last else framed

    def _receive(self, exchange: Requester, data: bytes) -> None:
        self._protocol.receive_data(data)
        self._take_events(exchange)

    def _receive_eof(self, exchange: Requester) -> None:
        if not self._answered:
            self.fail(502, "closed the connection before the response began")
            return
        self._protocol.receive_eof()
        self._take_events(exchange)

    def _take_events(self, exchange: Requester) -> None:
        """Pass everything received to the exchange, in one piece."""
        pieces: list[bytes] = []
        complete = False
        try:
            while True:
                event = self._protocol.next_event()
                if isinstance(event, Data):
                    pieces.append(event.data)
                elif isinstance(event, ResponseHead):
                    if event.status >= 200:  # interim 1xx responses are not forwarded
                        self._head = self._for_client(event)
                elif isinstance(event, EndOfMessage):
                    complete = True
                    break
                else:
                    break
        except RemoteProtocolError as error:
            self._hand_over(exchange, b"".join(pieces), complete=False)
            self.fail(502, f"invalid response: {error.reason}")
            return
        self._hand_over(exchange, b"".join(pieces), complete=complete)

    def _hand_over(self, exchange: Requester, data: bytes, *, complete: bool) -> None:
        head, self._head = self._head, None
        if complete:
            self._done(reusable=self._protocol.reusable)
        if head is not None:
            exchange.respond(head, data, complete=complete)
        elif data or complete:
            exchange.more(data, complete=complete)

    def _for_client(self, head: ResponseHead) -> ResponseHead:
        found = head.derived
        if found is None:
            try:
                found = to_client(head.status, head.reason, head.fields)
            except LocalProtocolError as error:
                raise RemoteProtocolError(502, str(error)) from None
            head.derived = found
        return found  # type: ignore[no-any-return]

    def abort(self) -> None:
        """Close: HTTP/1.1 has no other way to cancel a request."""
        self.exchange = None
        self.close()
