"""The head of a response: built and checked once, then written from a cache.

A server sends the same few heads over and over, so a `ResponseHead` caches its encoding in each
variant (keep-alive or close, chunked or not, HTTP/1.0 or 1.1): sending it again costs one list
lookup. Fields that change per response (Date, X-Request-Id) are passed separately, already encoded.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from chainlab.wire.http1.errors import LocalProtocolError, RemoteProtocolError
from chainlab.wire.http1.fields import Fields, encode_fields, get, has_token, parse_fields
from chainlab.wire.http1.framing import Buffer, measure
from chainlab.wire.http1.limits import Limits

_STATUS_LINE: Final = re.compile(
    rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n"
)
_REASON: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_REASONS: Final = {int(status): status.phrase.encode() for status in HTTPStatus}
_OURS: Final = (b"connection", b"transfer-encoding")
_BODYLESS: Final = (204, 304)


def reason_phrase(status: int) -> bytes:
    """Return the standard phrase for `status`; empty if there is none."""
    return _REASONS.get(status, b"")


class ResponseHead:
    """A response's head. Field names are written in the case given.

    `minor`, `chunked` and `keep_alive` describe a received head; a head made here has 1, False and
    True. `derived` is free for the caller's own data about this head.
    """

    __slots__ = (
        "_encoded",
        "bodyless",
        "chunked",
        "content_length",
        "derived",
        "fields",
        "keep_alive",
        "minor",
        "reason",
        "status",
    )

    def __init__(
        self, status: int, fields: Iterable[tuple[bytes, bytes]] = (), reason: bytes | None = None
    ) -> None:
        self.status = status
        self.fields: Fields = tuple(fields)
        self.reason = reason_phrase(status) if reason is None else reason
        # A response of this status never has content (RFC 9112 section 6.3, rule 1).
        self.bodyless = status < 200 or status in _BODYLESS
        self.minor = 1
        self.chunked = False
        self.keep_alive = True
        self.content_length = self._own_length()
        self.derived: Any = None
        self._encoded: list[bytes | None] = [None] * 8

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of field `name` (lower case), or None."""
        return get(self.fields, name)

    def encode(self, *, minor: int, keep_alive: bool, chunked: bool) -> bytes:
        """Return status line and field lines, without the empty line that ends the head."""
        variant = minor | keep_alive << 1 | chunked << 2
        encoded = self._encoded[variant]
        if encoded is None:
            encoded = self._encoded[variant] = self._encode(minor, keep_alive, chunked)
        return encoded

    def _encode(self, minor: int, keep_alive: bool, chunked: bool) -> bytes:
        if not 100 <= self.status <= 999:
            raise LocalProtocolError(f"status {self.status} does not have three digits")
        if not _REASON.fullmatch(self.reason):
            raise LocalProtocolError(f"a control character in the reason {self.reason!r}")
        for name, _ in self.fields:
            if name.lower() in _OURS:
                raise LocalProtocolError(
                    f"{name.decode()} is set by the connection, not the caller"
                )
        lines = encode_fields(self.fields)
        if chunked:
            lines += b"Transfer-Encoding: chunked\r\n"
        options = []
        if any(name.lower() == b"upgrade" for name, _ in self.fields):
            options.append(b"upgrade")  # required by RFC 9110 section 7.8
        if not keep_alive:
            options.append(b"close")
        elif not minor:
            options.append(b"keep-alive")
        if options:
            lines += b"Connection: %b\r\n" % b", ".join(options)
        return b"HTTP/1.1 %d %b\r\n%b" % (self.status, self.reason, lines)

    def _own_length(self) -> int | None:
        lengths = [value for name, value in self.fields if name.lower() == b"content-length"]
        if not lengths:
            return None
        digits = lengths[0].lstrip(b"0")
        if len(lengths) > 1 or not lengths[0].isdigit() or len(digits) > 18:
            raise LocalProtocolError(
                f"Content-Length {b', '.join(lengths)!r} is not a single number"
            )
        return int(digits or b"0")

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.reason.decode('latin-1')}>"


def parse_response(head: bytes, limits: Limits) -> ResponseHead:
    """Parse a complete `head`, with its empty line; RemoteProtocolError (502) if malformed."""
    line = _STATUS_LINE.match(head)
    if not line:
        raise RemoteProtocolError(502, f"a malformed status line: {head[:60]!r}")
    fields = parse_fields(head[line.end() : -2], limits.fields)
    minor = 0 if line[1] == b"0" else 1
    length, chunked = measure(fields, minor)
    response = ResponseHead.__new__(ResponseHead)
    response.status = int(line[2])
    response.bodyless = response.status < 200 or response.status in _BODYLESS
    response.fields = fields
    response.reason = line[3] or b""
    response.minor = minor
    response.chunked = chunked
    response.content_length = length
    response.keep_alive = not has_token(fields, b"connection", b"close") and (
        minor > 0 or has_token(fields, b"connection", b"keep-alive")
    )
    response.derived = None
    response._encoded = [None] * 8  # noqa: SLF001 - the same class
    return response


def refuse_response_early(buffer: Buffer, limits: Limits) -> None:
    """Raise the error that an incomplete response head already has."""
    if not b"HTTP/1.".startswith(buffer[:7]):
        raise RemoteProtocolError(502, f"not an HTTP/1.1 response: {bytes(buffer[:40])!r}")
    if len(buffer) > limits.request_line + limits.header_block + 6:
        raise RemoteProtocolError(502, f"a head longer than {limits.header_block} bytes")
