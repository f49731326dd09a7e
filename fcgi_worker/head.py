"""The head of a response: checked, encoded as CGI (RFC 3875 section 6.2), and cached."""

import functools
import re
from typing import Final

_STATUS: Final = re.compile(r"[1-9][0-9]{2}( [^\x00-\x1f\x7f]*)?")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


class Head:
    """The head of a response, checked and encoded."""

    __slots__ = ("encoded", "has_body", "length", "whole")

    def __init__(self, encoded: bytes, length: int | None, has_body: bool) -> None:
        self.encoded = encoded  # without the blank line
        self.whole = encoded + b"\r\n"
        self.length = length  # the value of Content-Length
        self.has_body = has_body  # 1xx, 204 and 304 have none


@functools.lru_cache(256)
def encode_head(status: str, headers: tuple[tuple[str, str], ...]) -> Head:
    """Return the CGI head of a response (RFC 3875 section 6.2).

    Raises ValueError for values that would break the framing. Cached, so that equal heads are
    checked once.
    """
    if type(status) is not str or not _STATUS.fullmatch(status):
        raise ValueError(f"status {status!r} is not three digits and a reason")
    lines = [f"Status: {status}\r\n"]
    length = None
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise ValueError(f"header name {name!r} is not a token (RFC 9110 section 5.1)")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of header {name} contains control characters: {value!r}")
        if name.lower() == "content-length":
            if not (value.isascii() and value.isdigit()):
                raise ValueError(f"Content-Length {value!r} is not a number of bytes")
            if length is not None:
                if length != int(value):
                    raise ValueError(f"two Content-Length headers: {length} and {value}")
                continue  # RFC 9110 section 8.6: equal values count once
            length = int(value)
        lines.append(f"{name}: {value}\r\n")
    has_body = status[0] != "1" and status[:3] not in ("204", "304")
    return Head("".join(lines).encode("latin-1"), length, has_body)
