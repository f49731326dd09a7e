"""The head of a request: request line, header block, and what follows from them.

A head is parsed once into an immutable `RequestHead`. `parse_request` is strict: errors that RFC
9112 lets a server repair are rejected, because another server might repair them differently.
`refuse_early` checks an incomplete head, so that a peer that speaks another protocol (TLS,
HTTP/0.9, garbage) gets an answer at once, not after a timeout.
"""

import re
from typing import Any, Final

from chainlab.wire.http1.errors import RemoteProtocolError
from chainlab.wire.http1.fields import STRAY, TOKEN, Fields, get, has_token, parse_fields, values
from chainlab.wire.http1.framing import Buffer, measure
from chainlab.wire.http1.limits import Limits

_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r\n")
_HOST: Final = re.compile(rb"([A-Za-z0-9\-._~!$&'()*+;=%]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]*)(/[^?]*)?(?:\?(.*))?")
_CONTINUE: Final = b"100-continue"
_TLS_HANDSHAKE: Final = 0x16
_HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n"
_PREFACE_HEAD: Final = _HTTP2_PREFACE + b"\r\n"


class RequestHead:
    """A parsed and checked request head. Immutable by convention: cached heads are shared.

    `path` is as received, still percent-encoded; `*` for `OPTIONS *`. For an absolute-form target,
    `path` is its path and `host` its authority. `query` excludes the question mark. `derived` is
    free for the caller's own data about this head (the gateway stores its plan there).
    """

    __slots__ = (
        "chunked",
        "content_length",
        "derived",
        "expect_continue",
        "fields",
        "host",
        "keep_alive",
        "method",
        "minor",
        "path",
        "query",
        "target",
    )

    def __init__(self, method: bytes, target: bytes, minor: int, fields: Fields) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.fields = fields
        self.host, self.path, self.query = _resolve(method, target, _read_host(fields, minor))
        self.content_length, self.chunked = measure(fields, minor)
        self.keep_alive = not has_token(fields, b"connection", b"close") and (
            minor > 0 or has_token(fields, b"connection", b"keep-alive")
        )
        self.expect_continue = _read_expect(fields, minor) and self.has_body
        self.derived: Any = None

    @property
    def has_body(self) -> bool:
        """True if content follows: a length above zero, or chunks."""
        return self.chunked or bool(self.content_length)

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of field `name` (lower case), or None."""
        return get(self.fields, name)

    def __repr__(self) -> str:
        return f"<RequestHead {self.method.decode()} {self.target.decode()} 1.{self.minor}>"


def parse_request(head: bytes, limits: Limits) -> RequestHead:
    """Parse a complete `head`, with its empty line; RemoteProtocolError has the status."""
    line_end = head.find(b"\r\n", 0, limits.request_line + 2)
    if line_end < 0:
        raise RemoteProtocolError(414, f"a request line longer than {limits.request_line} bytes")
    block = head[line_end + 2 : -2]
    if len(block) > limits.header_block:
        raise _block_too_long(limits)
    line = _LINE.match(head)
    if not line or line.end() != line_end + 2:
        raise _bad_line(head[:line_end])
    method, target, major, minor = line.groups()
    if major != b"1":
        raise _bad_version(head)
    return RequestHead(
        method, target, 0 if minor == b"0" else 1, parse_fields(block, limits.fields)
    )


def refuse_early(buffer: Buffer, seen: int, limits: Limits) -> None:
    """Raise the error that an incomplete head already has; bytes before `seen` were checked.

    Only new bytes are checked, so the cost of a head that arrives byte by byte stays linear.
    """
    if buffer[0] == _TLS_HANDSHAKE:
        raise RemoteProtocolError(400, "a TLS handshake on a plain HTTP port")
    line_end = buffer.find(b"\r\n", 0, limits.request_line + 2)
    if line_end < 0:
        if len(buffer) > limits.request_line + 1:  # the line's CR may have arrived already
            raise RemoteProtocolError(
                414, f"a request line longer than {limits.request_line} bytes"
            )
    elif len(buffer) - line_end > limits.header_block + 6:
        raise _block_too_long(limits)
    elif seen <= line_end + 2:
        line = bytes(buffer[: line_end + 2])
        match = _LINE.fullmatch(line)
        if not match:
            raise _bad_line(line[:-2])
        if match[3] != b"1" and line != _HTTP2_PREFACE:
            raise _bad_version(line)
    stray = STRAY.search(buffer, max(0, seen - 1))
    if stray:
        kind = {b"\n": "a bare LF", b"\r": "a bare CR", b"\0": "a NUL"}[bytes(stray[0])]
        raise RemoteProtocolError(400, f"{kind} in the request head")


def _block_too_long(limits: Limits) -> RemoteProtocolError:
    return RemoteProtocolError(431, f"a header block longer than {limits.header_block} bytes")


def _bad_version(head: bytes) -> RemoteProtocolError:
    if head.startswith(_PREFACE_HEAD):
        return RemoteProtocolError(505, "an HTTP/2 preface on an HTTP/1.1 port")
    return RemoteProtocolError(505, "a version other than HTTP/1.0 and HTTP/1.1")


def _bad_line(line: bytes) -> RemoteProtocolError:
    if line[:1] == bytes((_TLS_HANDSHAKE,)):
        return RemoteProtocolError(400, "a TLS handshake on a plain HTTP port")
    parts = line.split(b" ")
    if len(parts) == 2 and re.fullmatch(TOKEN, parts[0]):
        return RemoteProtocolError(400, "a request line without a version (HTTP/0.9)")
    return RemoteProtocolError(400, f"a malformed request line: {line[:60]!r}")


def _read_host(fields: Fields, minor: int) -> bytes:
    """Return the Host field; HTTP/1.1 requires exactly one (RFC 9112 section 3.2)."""
    hosts = values(fields, b"host")
    if len(hosts) > 1:
        raise RemoteProtocolError(400, "more than one Host")
    if not hosts:
        if minor:
            raise RemoteProtocolError(400, "no Host")
        return b""
    _require_host(hosts[0])
    return hosts[0]


def split_host(host: bytes) -> tuple[bytes, int | None] | None:
    """Return the name (IPv6 in brackets) and the port of a Host value; None if it is invalid."""
    match = _HOST.fullmatch(host)
    if not match or int(match[2] or 0) > 65535:
        return None
    return match[1], int(match[2]) if match[2] else None


def _require_host(host: bytes) -> None:
    if split_host(host) is None:
        raise RemoteProtocolError(400, f"an invalid Host: {host[:40]!r}")


def _resolve(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes, bytes]:
    """Return (host, path, query) of a target in any of its forms (RFC 9112 section 3.2)."""
    if method == b"CONNECT":
        raise RemoteProtocolError(501, "CONNECT is not supported")
    if b"#" in target:
        raise RemoteProtocolError(400, "a fragment in the request target")
    if target[:1] == b"/":
        path, _, query = target.partition(b"?")
        return host, path, query
    if target == b"*" and method == b"OPTIONS":
        return host, b"*", b""
    absolute = _ABSOLUTE.fullmatch(target)
    if not absolute:
        raise RemoteProtocolError(400, f"a malformed request target: {target[:40]!r}")
    _require_host(absolute[1])
    path = absolute[2] or (b"*" if method == b"OPTIONS" and absolute[3] is None else b"/")
    return absolute[1], path, absolute[3] or b""


def _read_expect(fields: Fields, minor: int) -> bool:
    """Return True if the client waits for 100 (Continue) (RFC 9110 section 10.1.1)."""
    expect = get(fields, b"expect")
    if expect is None or not minor:
        return False
    if expect.lower() != _CONTINUE:
        raise RemoteProtocolError(417, f"an expectation other than 100-continue: {expect[:40]!r}")
    return True
