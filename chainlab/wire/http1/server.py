"""The server's side of an HTTP/1.1 connection: requests in, responses out.

Two state machines, one per direction. A cycle ends when both are DONE; if the connection is kept,
the next cycle begins at once.

    request side                                   response side
    HEAD    a head without content      -> ENDING  IDLE   a request's head, or its error -> READY
    HEAD    a head with content         -> BODY    READY  send_response                  -> BODY
    BODY    the last byte of it         -> ENDING  READY  send_complete                  -> DONE
    ENDING  EndOfMessage returned       -> DONE    BODY   end                            -> DONE
    HEAD    the peer closes             -> CLOSED
    any     the peer breaks the rules   -> FAILED
    DONE    and response DONE, kept     -> HEAD    DONE   and request DONE, kept         -> IDLE

A rejected request gets one response (with the error's status), always with `Connection: close`.
Pipelined bytes stay in the buffer until the previous response is done; `buffered` is their number,
for backpressure.
"""

from functools import lru_cache
from typing import Final

from chainlab.wire.http1.errors import LocalProtocolError, RemoteProtocolError
from chainlab.wire.http1.events import (
    CLOSED,
    END_OF_MESSAGE,
    NEED_DATA,
    PAUSED,
    Data,
    EndOfMessage,
    State,
)
from chainlab.wire.http1.fields import Fields, encode_fields
from chainlab.wire.http1.framing import Buffer, ChunkedReader, LengthReader, Reader
from chainlab.wire.http1.limits import Limits
from chainlab.wire.http1.memo import Memo
from chainlab.wire.http1.request import RequestHead, parse_request, refuse_early
from chainlab.wire.http1.response import ResponseHead

# Request side, in the order of the table above. Plain integers, because every call compares them
# and an Enum member would cost another attribute lookup.
_HEAD, _BODY, _ENDING, _DONE, _CLOSED, _FAILED = range(6)
# Response side.
_IDLE, _READY, _SENDING, _SENT = range(4)

# Framing of the content being sent.
_BARE, _LENGTH, _CHUNKED, _UNTIL_CLOSE = range(4)

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


@lru_cache(maxsize=16)
def _memo_for(_limits: Limits) -> Memo[RequestHead]:
    """Return the memo that all connections with the same limits share."""
    return Memo()


class ServerConnection:
    """One client's connection, without I/O.

    `keep_alive` is True if another request may follow; a draining server may set it to False before
    the response begins.
    """

    __slots__ = (
        "_buffer",
        "_eof",
        "_framing",
        "_left",
        "_limits",
        "_memo",
        "_reader",
        "_receiving",
        "_request",
        "_response",
        "_scanned",
        "awaiting_continue",
        "keep_alive",
    )

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits = limits or Limits()
        self._memo = _memo_for(limits)
        self._buffer: Buffer = b""
        self._scanned = 0
        self._eof = False
        self._receiving = _HEAD
        self._response = _IDLE
        self._request: RequestHead | None = None
        self._reader: Reader | None = None
        self._framing = _BARE
        self._left = 0
        self.keep_alive = True
        self.awaiting_continue = False

    # Receiving

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if not self._buffer:
            self._buffer = data
            return
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(self._buffer)
        self._buffer += data

    def receive_known(self, data: bytes) -> RequestHead | None:
        """Return the head if `data` is one whole, known request; otherwise consume nothing: None.

        Fast path for a kept connection: most requests have no content and arrive in one read. The
        state is then as if next_event had returned the head and the end. The caller passes
        anything else to receive_data.
        """
        head = self._memo.get(data)
        if head is None or self._receiving != _HEAD or self._buffer or head.has_body:
            return None
        self._scanned = 0
        self._request = head
        self._reader = None
        self._receiving = _DONE
        self._response = _READY
        if not head.keep_alive:
            self.keep_alive = False
        return head

    def receive_eof(self) -> None:
        """Note that the peer will send no more; it may still read (half-closed)."""
        self._eof = True

    @property
    def buffered(self) -> int:
        """Number of bytes received but not yet returned as events."""
        return len(self._buffer)

    def next_event(self) -> RequestHead | Data | EndOfMessage | State:
        """Return the next event or a State; RemoteProtocolError if the peer broke HTTP."""
        receiving = self._receiving
        if receiving == _HEAD:
            if type(self._buffer) is bytes and (head := self._memo.get(self._buffer)):
                self._buffer = b""
                return self._begin(head)
        elif receiving == _ENDING:
            return self._end_request()
        elif receiving != _BODY:
            return PAUSED if receiving == _DONE else CLOSED
        try:
            return self._next_head() if receiving == _HEAD else self._next_piece()
        except RemoteProtocolError:
            self._fail()
            raise

    def _next_head(self) -> RequestHead | State:
        buffer = self._buffer
        if not self._scanned and buffer[:2] == b"\r\n":
            # Ignore one empty line before a request line (RFC 9112 section 2.2).
            self._buffer = buffer = buffer[2:]
            self._scanned = 1
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end < 0:
            return self._wait_for_head(buffer)
        raw = bytes(buffer[: end + 4])
        self._buffer = buffer[end + 4 :]
        head = self._memo.get(raw)
        if head is None:
            head = parse_request(raw, self._limits)
            self._memo.keep(raw, head)
        return self._begin(head)

    def _wait_for_head(self, buffer: Buffer) -> State:
        if buffer:
            refuse_early(buffer, self._scanned, self._limits)
            # A lone CR may be the first half of the empty line to ignore.
            if buffer != b"\r":
                self._scanned = len(buffer)
        if not self._eof:
            return NEED_DATA
        if buffer:
            raise RemoteProtocolError(400, "closed in the middle of a request head")
        self._receiving = _CLOSED
        return CLOSED

    def _begin(self, head: RequestHead) -> RequestHead:
        self._scanned = 0
        self._request = head
        self._response = _READY
        if not head.keep_alive:
            self.keep_alive = False
        if head.content_length or head.chunked:
            self._expect_body(head)
        else:
            self._reader = None
            self._receiving = _ENDING
        return head

    def _expect_body(self, head: RequestHead) -> None:
        limit = self._limits.body
        length = head.content_length
        if limit is not None and length is not None and length > limit:
            self._fail()
            raise RemoteProtocolError(413, f"a body longer than {limit} bytes")
        self._reader = LengthReader(length) if length else ChunkedReader(self._limits)
        self._receiving = _BODY
        self.awaiting_continue = head.expect_continue and not self._buffer

    def limit_body(self, limit: int | None) -> None:
        """Apply a smaller limit than `Limits.body` to the content of the current request.

        For a limit that depends on the request's path. RemoteProtocolError (413) if the length is
        known to be larger.
        """
        request = self._request
        if limit is None or request is None:
            return
        length = request.content_length
        if length is not None and length > limit:
            self._fail()
            raise RemoteProtocolError(413, f"a body longer than {limit} bytes")
        if isinstance(self._reader, ChunkedReader):
            self._reader.limit(limit)

    def _next_piece(self) -> Data | EndOfMessage | State:
        assert self._reader is not None
        if not self._buffer:
            if self._eof:
                raise RemoteProtocolError(400, "closed before the end of the body")
            return NEED_DATA
        self.awaiting_continue = False
        data, used, finished = self._reader.take(self._buffer)
        self._buffer = self._buffer[used:]
        if finished:
            self._receiving = _ENDING
        if data:
            return Data(data)
        if finished:
            return self._end_request()
        if self._eof:
            raise RemoteProtocolError(400, "closed before the end of the body")
        return NEED_DATA

    def _end_request(self) -> EndOfMessage:
        self._receiving = _DONE
        if self._response == _SENT:
            self._finish_cycle()
        return EndOfMessage(self._reader.trailers) if self._reader else END_OF_MESSAGE

    def refuse(self) -> None:
        """Reject the request for a reason of the caller's, such as a timeout (408).

        Nothing more is read. One response may still be sent; then the connection must close.
        """
        self._fail()

    def _fail(self) -> None:
        """Reject the rest of the connection; one response may still be sent."""
        self._receiving = _FAILED
        self._buffer = b""
        self.keep_alive = False
        self.awaiting_continue = False
        if self._response == _IDLE:
            self._request = None
            self._response = _READY

    # Sending

    @property
    def ready(self) -> bool:
        """True if the next request may come and no byte of it has arrived."""
        return self._receiving == _HEAD and not self._buffer and not self._eof

    @property
    def response_started(self) -> bool:
        """True if the response has begun, so it is too late to send another one."""
        return self._response in (_SENDING, _SENT)

    @property
    def must_close(self) -> bool:
        """True if the connection must close once everything returned has been sent."""
        if self._response == _SENT:
            return not self.keep_alive
        return self._response == _IDLE and self._receiving == _CLOSED

    @property
    def unread(self) -> bool:
        """True if the peer may still be sending a request that will not be read completely."""
        return self._receiving in (_BODY, _FAILED)

    @property
    def has_content(self) -> bool:
        """True if the response that has begun may have content: not to HEAD, no 204 or 304."""
        return self._framing != _BARE

    @property
    def content_left(self) -> int | None:
        """Unsent bytes of the response's Content-Length; None if it has no length."""
        return self._left if self._framing == _LENGTH else None

    def send_continue(self) -> bytes:
        """Return 100 (Continue) if the client waits for it, otherwise nothing."""
        if not self.awaiting_continue:
            return b""
        self.awaiting_continue = False
        return _CONTINUE

    def send_complete(self, head: ResponseHead, body: bytes, extra: bytes = b"") -> bytes:
        """Return a whole response: `head`, encoded field lines `extra`, and `body`.

        Adds a missing Content-Length. A HEAD request gets only the head.
        """
        if self._response != _READY or self.awaiting_continue:
            self._require_ready()
        request = self._request
        minor = request.minor if request else 1
        encoded = head.encode(minor=minor, keep_alive=self.keep_alive, chunked=False)
        if head.bodyless:
            body = b""
        else:
            length = head.content_length
            if length is None:
                extra += b"Content-Length: %d\r\n" % len(body)
            if request is not None and request.method == b"HEAD":
                body = b""
            elif length is not None and length != len(body):
                raise LocalProtocolError(f"a body of {len(body)} bytes, Content-Length {length}")
        self._response = _SENT
        if self._receiving == _DONE:
            self._finish_cycle()
        return b"%b%b\r\n%b" % (encoded, extra, body)

    def send_response(self, head: ResponseHead, extra: bytes = b"") -> bytes:
        """Return the head of a response whose content follows through `send_data`.

        The content is framed by Content-Length; without one, by chunks, or by the close (HTTP/1.0).
        """
        request = self._require_ready()
        minor = request.minor if request else 1
        chunked = False
        if head.bodyless or (request is not None and request.method == b"HEAD"):
            self._framing = _BARE
        elif head.content_length is not None:
            self._framing = _LENGTH
            self._left = head.content_length
        elif minor:
            self._framing = _CHUNKED
            chunked = True
        else:
            self._framing = _UNTIL_CLOSE
            self.keep_alive = False
        encoded = head.encode(minor=minor, keep_alive=self.keep_alive, chunked=chunked)
        self._response = _SENDING
        return b"%b%b\r\n" % (encoded, extra)

    def send_data(self, data: bytes) -> bytes:
        """Return framed content; nothing if the response has none (HEAD, 204, 304)."""
        self._require_sending()
        framing = self._framing
        if framing == _LENGTH:
            self._count(len(data))
            return data
        if framing == _CHUNKED:
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return data if framing == _UNTIL_CLOSE else b""

    def sent_by_caller(self, count: int) -> None:
        """Count content bytes that the caller sent directly to the socket (sendfile)."""
        self._require_sending()
        if self._framing == _CHUNKED:
            raise LocalProtocolError("chunked content must go through send_data")
        if self._framing == _LENGTH:
            self._count(count)

    def end(self, trailers: Fields = ()) -> bytes:
        """Return the end of the content; LocalProtocolError if it is short of Content-Length."""
        self._require_sending()
        if self._framing == _LENGTH and self._left:
            raise LocalProtocolError(f"{self._left} bytes short of Content-Length")
        ending = b""
        if self._framing == _CHUNKED:
            ending = b"0\r\n%b\r\n" % encode_fields(trailers) if trailers else _LAST_CHUNK
        self._finish_response()
        return ending

    def _require_ready(self) -> RequestHead | None:
        if self._response != _READY:
            raise LocalProtocolError("no request waits for a response")
        if self.awaiting_continue:
            # The client may or may not send the body now, so the connection cannot be kept.
            self.keep_alive = False
        return self._request

    def _require_sending(self) -> None:
        if self._response != _SENDING:
            raise LocalProtocolError("no response has begun")

    def _count(self, sent: int) -> None:
        if sent > self._left:
            raise LocalProtocolError(f"{sent - self._left} bytes beyond Content-Length")
        self._left -= sent

    def _finish_response(self) -> None:
        self._response = _SENT
        if self._receiving == _DONE:
            self._finish_cycle()

    def _finish_cycle(self) -> None:
        if self.keep_alive:
            self._receiving = _HEAD
            self._response = _IDLE
        else:
            self._receiving = _CLOSED
            self._buffer = b""
