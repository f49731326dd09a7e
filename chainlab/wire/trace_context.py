"""W3C Trace Context, level 1: the field `traceparent`, which names the parent span of a request.

    00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
    version, trace id, parent span id, flags (01: recorded)

Each participant creates a span with the sender's span id as parent, and passes the trace id on with
its own span id. An invalid value is ignored and a new trace begins, so that one broken client
cannot link unrelated requests (sections 3.2.2, 4.3).
"""

import re
from typing import Final, NamedTuple

_VALUE: Final = re.compile(
    rb"(?P<version>[0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?P<more>-.*)?"
)
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16

TRACEPARENT_LENGTH: Final = 55
"""Length of a version 00 value in bytes; no other version is written."""


class TraceContext(NamedTuple):
    """The content of a valid `traceparent`; the ids are lower-case hexadecimal digits."""

    trace_id: bytes
    span_id: bytes  # the sender's span, parent of the receiver's span
    sampled: bool


def parse_traceparent(value: bytes) -> TraceContext | None:
    """Return the content of `value`; None if it is invalid (section 3.2.2).

    In a later version, only the fields that version 00 defines are read (section 4.3).
    """
    match = _VALUE.fullmatch(value)
    if not match:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))


def make_traceparent(trace_id: bytes, span_id: bytes, *, sampled: bool) -> bytes:
    """Return the field value; all flags except `sampled` are 0 (section 3.2.2.5)."""
    return b"00-%b-%b-%b" % (trace_id, span_id, b"01" if sampled else b"00")
