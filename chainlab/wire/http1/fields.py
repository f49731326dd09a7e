"""Field lines (RFC 9112 section 5): parsed strictly, and checked before they are written.

One regular expression, anchored at every line start, parses a whole block in one call. It matches
only correct lines, and each match contains exactly one LF. A block is therefore correct if there
are as many matches as LFs. Only an incorrect block is checked line by line, to name the error.

Rejected, because parsers disagree on them, which allows request smuggling: bare CR, bare LF, NUL
and other controls, whitespace before the colon, folded lines (RFC 9112 sections 2.2, 5.1 and 5.2).
"""

import re
from typing import Final, TypeAlias

from chainlab.wire.http1.errors import LocalProtocolError, RemoteProtocolError

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Field lines in order of arrival: (lower-case name, value without outer whitespace)."""

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*"

_LINES: Final = re.compile(rb"^(" + TOKEN + rb"):(" + VALUE + rb")\r\n", re.MULTILINE)
_NAME: Final = re.compile(TOKEN)
_VALUE: Final = re.compile(VALUE)

STRAY: Final = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\0")
"""A bare LF, a bare CR (one at the very end may still be followed by its LF), a NUL."""

_STRAY_NAMES: Final = {b"\n": "a bare LF", b"\r": "a bare CR", b"\0": "a NUL"}


def parse_fields(block: bytes, limit: int) -> Fields:
    """Parse lines that end in CRLF; RemoteProtocolError 400 if malformed, 431 above `limit`."""
    count = block.count(b"\n")
    if count > limit:
        raise RemoteProtocolError(431, f"more than {limit} header fields")
    lines = _LINES.findall(block)
    if len(lines) != count:
        raise RemoteProtocolError(400, what_is_wrong(block))
    return tuple([(name.lower(), value.strip(b" \t")) for name, value in lines])


def what_is_wrong(block: bytes) -> str:
    """Describe the first error in a block of field lines."""
    if stray := STRAY.search(block):
        return f"{_STRAY_NAMES[stray[0]]} in the header block"
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if line[:1] in (b" ", b"\t"):
            return "a folded header line"
        if not colon:
            return f"a header line without a colon: {line[:40]!r}"
        if name != name.rstrip(b" \t"):
            return f"a space between header name and colon: {name[:40]!r}"
        if not _NAME.fullmatch(name):
            return f"a header name that is not a token: {name[:40]!r}"
        if not _VALUE.fullmatch(value):
            return f"a control character in the value of header {name[:40]!r}"
    return "a malformed header block"  # pragma: no cover - every error is handled above


def encode_fields(fields: Fields) -> bytes:
    """Encode field lines; LocalProtocolError for one that would split the head."""
    for name, value in fields:
        if not _NAME.fullmatch(name):
            raise LocalProtocolError(f"header name {name!r} is not a token")
        if not _VALUE.fullmatch(value):
            raise LocalProtocolError(f"a control character in the value of header {name!r}")
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def get(fields: Fields, name: bytes) -> bytes | None:
    """Return the first value of `name` (lower case), or None."""
    for key, value in fields:
        if key == name:
            return value
    return None


def values(fields: Fields, name: bytes) -> list[bytes]:
    """Return every value of `name` (lower case), in order."""
    return [value for key, value in fields if key == name]


def has_token(fields: Fields, name: bytes, token: bytes) -> bool:
    """Return True if the comma-separated values of `name` contain `token`, in any case."""
    for key, value in fields:
        if key == name and token in (item.strip(b" \t") for item in value.lower().split(b",")):
            return True
    return False
