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
"""Bytes of the value in version 00, the only one that is written."""


class TraceContext(NamedTuple):
    """What a valid `traceparent` says; the ids in lower-case hexadecimal digits."""

    trace_id: bytes
    span_id: bytes  # the sender's span: the parent of whatever the receiver does
    sampled: bool


def parse_traceparent(value: bytes) -> TraceContext | None:
    """Return what `value` says; None when it is not valid (section 3.2.2).

    Of a version that is not known yet as much is read as version 00 has (section 4.3).
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
    """Return the value; every flag but `sampled` is 0, as section 3.2.2.5 says."""
    return b"00-%b-%b-%b" % (trace_id, span_id, b"01" if sampled else b"00")
