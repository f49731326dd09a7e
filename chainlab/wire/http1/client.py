"""The client's side of an HTTP/1.1 connection to an upstream: requests out, responses in.

    response side
    IDLE    send_request                         -> HEAD
    HEAD    a head below 200                     -> HEAD     (returned; the final one follows)
    HEAD    a head without content               -> ENDING
    HEAD    a head with content                  -> BODY
    BODY    the last byte, or the allowed close  -> ENDING
    ENDING  EndOfMessage returned                -> IDLE
    any     the upstream breaks the rules        -> FAILED

Every RemoteProtocolError here has status 502, because an upstream's error is a 502 to the client. A
connection is `reusable` only if both messages have ended, both sides keep it, and no byte is left
over. After a chunked response to HEAD it is not: some servers (bjoern) send the last chunk, which
a response to HEAD must not have, and that chunk may arrive late.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from chainlab.wire.http1.errors import LocalProtocolError, RemoteProtocolError
from chainlab.wire.http1.events import CLOSED, END_OF_MESSAGE, NEED_DATA, Data, EndOfMessage, State
from chainlab.wire.http1.fields import TOKEN, Fields, encode_fields, has_token
from chainlab.wire.http1.framing import (
    Buffer,
    ChunkedReader,
    CloseReader,
    LengthReader,
    Reader,
    measure,
)
from chainlab.wire.http1.limits import Limits
from chainlab.wire.http1.memo import Memo
from chainlab.wire.http1.response import ResponseHead, parse_response, refuse_response_early

_IDLE, _HEAD, _BODY, _ENDING, _FAILED = range(5)

_METHOD: Final = re.compile(TOKEN)
_TARGET: Final = re.compile(rb"[\x21-\x7e]+")

_heads: Final = Memo[ResponseHead]()


@lru_cache(maxsize=256)
def _encode_request(
    method: bytes, target: bytes, fields: Fields
) -> tuple[bytes, int | None, bool, bool]:
    """Return (head without its empty line, content length, chunked, kept)."""
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
        raise LocalProtocolError(f"a malformed request line: {method!r} {target!r}")
    lower = tuple((name.lower(), value) for name, value in fields)
    try:
        length, chunked = measure(lower, 1)
    except RemoteProtocolError as error:
        raise LocalProtocolError(error.reason) from None
    kept = not has_token(lower, b"connection", b"close")
    head = b"%b %b HTTP/1.1\r\n%b" % (method, target, encode_fields(fields))
    return head, length, chunked, kept


class ClientConnection:
    """One connection to an upstream, without I/O; one request at a time.

    `limits` apply to responses; without `limits`, their content and its framing are unlimited.
    """

    __slots__ = (
        "_buffer",
        "_chunked",
        "_eof",
        "_kept",
        "_left",
        "_limits",
        "_method",
        "_reader",
        "_receiving",
        "_sending",
        "_started",
    )

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits(body=None, chunk_overhead=None)
        self._buffer: Buffer = b""
        self._eof = False
        self._kept = True
        self._method = b""
        self._sending = False  # the request's content has not ended yet
        self._left: int | None = None  # unsent bytes of the request's Content-Length
        self._chunked = False
        self._receiving = _IDLE
        self._reader: Reader | None = None
        self._started = False

    @property
    def reusable(self) -> bool:
        """True if another request may be sent on this connection."""
        return (
            self._receiving == _IDLE
            and self._kept
            and not self._sending
            and not self._buffer
            and not self._eof
        )

    @property
    def response_started(self) -> bool:
        """True if a byte of the current response has arrived, so it is too late to retry."""
        return self._started

    # Sending

    def send_request(
        self,
        method: bytes,
        target: bytes,
        fields: Iterable[tuple[bytes, bytes]],
        extra: bytes = b"",
    ) -> bytes:
        """Return a request's head; `extra` holds encoded field lines that change per request.

        The fields frame the content: Content-Length, `Transfer-Encoding: chunked`, or no content.
        """
        if self._receiving != _IDLE or self._sending:
            raise LocalProtocolError("a request is running on this connection")
        head, self._left, self._chunked, kept = _encode_request(method, target, tuple(fields))
        self._kept = self._kept and kept
        self._method = method
        self._sending = self._chunked or bool(self._left)
        self._receiving = _HEAD
        self._started = False
        return b"%b%b\r\n" % (head, extra)

    def send_data(self, data: bytes) -> bytes:
        """Return content, framed according to the request's fields."""
        if not self._sending:
            raise LocalProtocolError("the request has no content, or it has ended")
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if len(data) > (self._left or 0):
            raise LocalProtocolError("content beyond Content-Length")
        self._left = (self._left or 0) - len(data)
        return data

    def end(self, trailers: Fields = ()) -> bytes:
        """Return the end of the content; LocalProtocolError if it is short of Content-Length."""
        if not self._sending:
            return b""
        if not self._chunked:
            if self._left:
                raise LocalProtocolError(f"{self._left} bytes short of Content-Length")
            self._sending = False
            return b""
        self._sending = False
        return b"0\r\n%b\r\n" % encode_fields(trailers)

    # Receiving

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the upstream."""
        self._started = True
        if not self._buffer:
            self._buffer = data
            return
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(self._buffer)
        self._buffer += data

    def receive_eof(self) -> None:
        """Note that the upstream will send no more."""
        self._eof = True

    def next_event(self) -> ResponseHead | Data | EndOfMessage | State:
        """Return the next event or a State; RemoteProtocolError if the upstream broke HTTP."""
        try:
            if self._receiving == _HEAD:
                return self._next_head()
            if self._receiving == _BODY:
                return self._next_piece()
            if self._receiving == _ENDING:
                return self._end_response()
            if self._buffer:
                raise RemoteProtocolError(502, "bytes that belong to no response")
        except RemoteProtocolError as error:
            self._receiving = _FAILED
            self._buffer = b""
            self._kept = False
            raise RemoteProtocolError(502, error.reason) from None
        return CLOSED if self._eof or self._receiving == _FAILED else NEED_DATA

    def _next_head(self) -> ResponseHead | State:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            refuse_response_early(buffer, self._limits)
            if self._eof:
                raise RemoteProtocolError(502, "closed before the end of the response head")
            return NEED_DATA
        if end > self._limits.request_line + self._limits.header_block:
            raise RemoteProtocolError(502, "a response head longer than the limit")
        raw = bytes(buffer[: end + 4])
        self._buffer = buffer[end + 4 :]
        head = _heads.get(raw)
        if head is None:
            head = parse_response(raw, self._limits)
            _heads.keep(raw, head)
        self._begin(head)
        return head

    def _begin(self, head: ResponseHead) -> None:
        if head.status < 200:
            if head.status == 101:
                raise RemoteProtocolError(502, "an unrequested 101 Switching Protocols")
            return
        if not head.keep_alive:
            self._kept = False
        self._reader = None
        self._receiving = _BODY
        if head.bodyless or self._method == b"HEAD":
            self._receiving = _ENDING
            self._kept = self._kept and not head.chunked
        elif head.chunked:
            self._reader = ChunkedReader(self._limits)
        elif head.content_length is None:
            self._reader = CloseReader()
            self._kept = False
        elif head.content_length:
            self._reader = LengthReader(head.content_length)
        else:
            self._receiving = _ENDING

    def _next_piece(self) -> Data | EndOfMessage | State:
        assert self._reader is not None
        data, used, finished = self._reader.take(self._buffer)
        self._buffer = self._buffer[used:]
        if finished:
            self._receiving = _ENDING
        if data:
            return Data(data)
        if finished:
            return self._end_response()
        if not self._eof:
            return NEED_DATA
        if not self._reader.eof():
            raise RemoteProtocolError(502, "closed before the end of the response")
        return self._end_response()

    def _end_response(self) -> EndOfMessage:
        self._receiving = _IDLE
        return EndOfMessage(self._reader.trailers) if self._reader else END_OF_MESSAGE
