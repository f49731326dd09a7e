"""Field lines (RFC 9112 section 5): read strictly, written only when they are harmless.

One expression, anchored at every line start, reads a whole block in one call of the regular
expression engine. It matches a correct line and nothing else, and each match takes exactly one
LF; so a block is correct when there are as many matches as LFs. Only a block that fails is
walked line by line, to say what is wrong with it.

Refused, because two parsers may disagree on them and a disagreement is a smuggled request: bare
CR, bare LF, NUL and other controls, whitespace before the colon, folded lines (RFC 9112 sections
2.2, 5.1 and 5.2).
"""

import re
from typing import Final, TypeAlias

from chainlab.wire.http1.errors import LocalProtocolError, RemoteProtocolError

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Field lines in the order they came: (name in lower case, value without outer whitespace)."""

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*"

_LINES: Final = re.compile(rb"^(" + TOKEN + rb"):(" + VALUE + rb")\r\n", re.MULTILINE)
_NAME: Final = re.compile(TOKEN)
_VALUE: Final = re.compile(VALUE)

STRAY: Final = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\0")
"""A bare LF, a bare CR (one at the very end may still be followed by its LF), a NUL."""

_STRAY_NAMES: Final = {b"\n": "a bare LF", b"\r": "a bare CR", b"\0": "a NUL"}


def parse_fields(block: bytes, limit: int) -> Fields:
    """Return the lines of `block`, each ending in CRLF; RemoteProtocolError 400, or 431 > limit."""
    count = block.count(b"\n")
    if count > limit:
        raise RemoteProtocolError(431, f"more than {limit} header fields")
    lines = _LINES.findall(block)
    if len(lines) != count:
        raise RemoteProtocolError(400, what_is_wrong(block))
    return tuple([(name.lower(), value.strip(b" \t")) for name, value in lines])


def what_is_wrong(block: bytes) -> str:
    """Return one line on the first mistake in a block of field lines."""
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
            return f"a header name that is no token: {name[:40]!r}"
        if not _VALUE.fullmatch(value):
            return f"a control character in the value of header {name[:40]!r}"
    return "a malformed header block"  # pragma: no cover - each mistake has its line above


def encode_fields(fields: Fields) -> bytes:
    """Return the field lines as bytes; LocalProtocolError for one that would split the head."""
    for name, value in fields:
        if not _NAME.fullmatch(name):
            raise LocalProtocolError(f"header name {name!r} is no token")
        if not _VALUE.fullmatch(value):
            raise LocalProtocolError(f"header {name!r} has a control character in its value")
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def get(fields: Fields, name: bytes) -> bytes | None:
    """Return the first value of `name` (lower case); None when it is not there."""
    for key, value in fields:
        if key == name:
            return value
    return None


def values(fields: Fields, name: bytes) -> list[bytes]:
    """Return every value of `name` (lower case), in order."""
    return [value for key, value in fields if key == name]


def has_token(fields: Fields, name: bytes, token: bytes) -> bool:
    """Tell whether the comma-separated lists of field `name` contain `token`, in any case."""
    for key, value in fields:
        if key == name and token in (item.strip(b" \t") for item in value.lower().split(b",")):
            return True
    return False
