"""Parse one answer incrementally: status, framing (RFC 9112 section 6), body. Sans-IO.

The loop parses only answers that arrive in pieces or that differ from the last correct answer; a
byte-for-byte identical answer needs no second look.

Stricter than a client needs to be, because a wrong answer must not win: a field without a colon, a
second Content-Length, or a byte after the end raises Broken. An interim answer (1xx) is a wrong
status: our requests never ask for one.
"""

import re
from typing import Final

from loadtest.openloop.plan import Expected

_STATUS_LINE: Final = rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?"
_FIELD: Final = rb"\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*"
_HEAD: Final = re.compile(_STATUS_LINE + rb"(?:" + _FIELD + rb")*")
_FRAMING: Final = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection):([^\r]*)", re.IGNORECASE
)
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
_LINES_LIMIT: Final = 65536  # bytes of a head, of a chunk's size, of trailers
_EMPTY: Final = (204, 304)


class Broken(ValueError):
    """Not a valid HTTP answer; the message says why."""


class Reader:
    """Parses one answer. `status`, `body` and `keeps` are valid once it is complete."""

    def __init__(self) -> None:
        self.status = 0  # 0: the head has not ended
        self.body = bytearray()
        self.keeps = True  # whether the connection may be used again
        self.begun = False  # whether any byte has come
        self._data = bytearray()
        self._chunked = False
        self._length: int | None = None  # None: until the connection ends

    def feed(self, data: bytes) -> bool:
        """Add received data; return whether the answer is complete."""
        self.begun = True
        self._data += data
        if not self.status:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                self._check_limit("the head")
                return False
            self._take_head(bytes(self._data[:end]))
            del self._data[: end + 4]
        if self._chunked:
            return self._take_chunks()
        self.body += self._data
        self._data.clear()
        if self._length is None:
            return False
        if len(self.body) > self._length:
            raise Broken(f"{len(self.body) - self._length} bytes after the answer's end")
        return len(self.body) == self._length

    def eof(self) -> bool:
        """Return whether the end of the connection completes the answer."""
        return bool(self.status) and not self._chunked and self._length is None

    def _check_limit(self, what: str) -> None:
        if len(self._data) > _LINES_LIMIT:
            raise Broken(f"{what} has no end within {_LINES_LIMIT} bytes")

    def _take_head(self, head: bytes) -> None:
        found = _HEAD.fullmatch(head)
        if not found:
            raise Broken(_first_fault(head))
        self.status = int(found[2])
        options: set[bytes] = set()
        for name, text in _FRAMING.findall(head):
            name, value = name.lower(), text.strip(b" \t").lower()
            if name == b"content-length":
                self._take_length(value)
            elif name == b"transfer-encoding":
                if value != b"chunked" or self._chunked:
                    raise Broken(f"unknown transfer coding: {value[:60]!r}")
                self._chunked = True
            else:
                options.update(option.strip() for option in value.split(b","))
        if self._chunked and self._length is not None:
            raise Broken("both Content-Length and Transfer-Encoding")
        if self.status in _EMPTY:
            self._length, self._chunked = 0, False
        old = found[1] == b"0" and b"keep-alive" not in options
        to_the_end = not self._chunked and self._length is None
        self.keeps = not (old or to_the_end or b"close" in options)

    def _take_length(self, value: bytes) -> None:
        if self._length is not None or not value.isdigit() or len(value) > 15:
            raise Broken(f"invalid or second Content-Length: {value[:60]!r}")
        self._length = int(value)

    def _take_chunks(self) -> bool:
        """Move whole chunks into the body (RFC 9112 section 7.1)."""
        data, at = self._data, 0
        while (line := data.find(b"\r\n", at)) >= 0:
            size_line = _SIZE.fullmatch(data, at, line)
            if not size_line:
                raise Broken(f"not a chunk size: {bytes(data[at : min(line, at + 60)])!r}")
            size = int(size_line[1], 16)
            del size_line  # keep no reference into `data`, which shrinks below
            if size == 0:
                end = data.find(b"\r\n\r\n", line)
                if end < 0:
                    break
                if len(data) > end + 4:
                    raise Broken(f"{len(data) - end - 4} bytes after the answer's end")
                return True
            end = line + 2 + size
            if len(data) < end + 2:
                break
            if data[end : end + 2] != b"\r\n":
                raise Broken(f"a chunk is longer than its size of {size}")
            self.body += data[line + 2 : end]
            at = end + 2
        else:
            if len(data) - at > _LINES_LIMIT:
                raise Broken(f"a chunk size has no end within {_LINES_LIMIT} bytes")
        del data[:at]
        return False


def _first_fault(head: bytes) -> str:
    line, *lines = head.split(b"\r\n")
    if not re.fullmatch(_STATUS_LINE, line):
        return f"not a status line: {line[:60]!r}"
    wrong = next(line for line in lines if not re.fullmatch(_FIELD, b"\r\n" + line))
    return f"not a header field: {wrong[:60]!r}"


def judge(reader: Reader, status: int, expected: Expected) -> tuple[str, str]:
    """Return the error in a complete answer, as kind and evidence; empty if it is correct."""
    body = bytes(reader.body)
    shown = f"{len(body)} bytes: {body[:120]!r}"
    if reader.status != status:
        return "status", f"status {reader.status} instead of {status}; {shown}"
    if isinstance(expected, bytes):
        if body != expected:
            return "body", f"{shown} instead of {len(expected)}: {expected[:120]!r}"
    elif not expected(body):
        return "body", shown
    return "", ""
