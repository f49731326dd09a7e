"""`traceparent` as W3C Trace Context says: what is taken, what is as good as none."""

import pytest

from chainlab.wire.trace_context import TraceContext, make_traceparent, parse_traceparent

TRACE = b"0af7651916cd43dd8448eb211c80319c"
SPAN = b"b7ad6b7169203331"
PLAIN = b"00-" + TRACE + b"-" + SPAN + b"-01"


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (PLAIN, True),
        (PLAIN[:-2] + b"00", False),
        (PLAIN[:-2] + b"02", False),  # of the flags only the last bit is known
        (PLAIN[:-2] + b"ff", True),
        (b"cc" + PLAIN[2:], True),  # a version to come is read as far as it is known
        (b"cc" + PLAIN[2:] + b"-what the future holds", True),
    ],
)
def test_what_is_valid(value: bytes, sampled: bool) -> None:
    assert parse_traceparent(value) == TraceContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        PLAIN[:-1],
        PLAIN + b"0",
        PLAIN + b"-more",  # version 00 has nothing more
        b"cc" + PLAIN[2:] + b"more",  # what follows begins with a hyphen
        b"ff" + PLAIN[2:],
        b"0" + PLAIN[1:].replace(b"0-", b"g-", 1),
        PLAIN.upper(),
        PLAIN.replace(TRACE, b"0" * 32),
        PLAIN.replace(SPAN, b"0" * 16),
        PLAIN.replace(TRACE, TRACE[:-1] + b"x"),
        PLAIN.replace(b"-", b"_"),
        PLAIN + b"\n",
        b" " + PLAIN,
        PLAIN + b"," + PLAIN,
    ],
)
def test_what_is_not(value: bytes) -> None:
    assert parse_traceparent(value) is None


@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_written_is_read(sampled: bool) -> None:
    value = make_traceparent(TRACE, SPAN, sampled=sampled)
    assert parse_traceparent(value) == TraceContext(TRACE, SPAN, sampled)
