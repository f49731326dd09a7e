"""The head of a CGI response: where it ends, what it says, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainlab.wire.cgi import find_end, parse_head
from chainlab.wire.http1 import RemoteProtocolError


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"A: b\r\n\r\nrest", 8), (b"A: b\n\nrest", 6), (b"A: b\n\r\nrest", 7),
        (b"A: b\r\n\nrest", 7), (b"A: b\r\n", -1), (b"", -1), (b"A: b\r\n\r", -1),
        (b"A: b\n\nbody\r\n\r\n", 6), (b"\r\n\r\n", 4),
        (b"A: b\n\r\n\r\nrest", 7), (b"A: b\r\n\n\r\n\r\n", 7), (b"A: b\r\n\r\n\r\n", 8),
    ],
)  # fmt: skip
def test_where_the_head_ends(data: bytes, end: int) -> None:
    assert find_end(data) == end


ENDINGS = [b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\n\n"]


@given(st.binary(max_size=60), st.sampled_from(ENDINGS))
def test_the_end_is_the_first_empty_line(body: bytes, ending: bytes) -> None:
    head = b"Content-Type: a/b" + ending
    assert find_end(head + body) == len(head)
    for cut in range(len(head)):
        assert find_end(head[:cut]) in (-1, len(head) if cut == len(head) else -1)


def test_status_and_fields() -> None:
    head = b"Status: 404 Not here\r\nContent-Type: text/plain\nX-Empty:\r\nX: a \r\n\r\n"
    assert parse_head(head) == (
        404,
        b"Not here",
        ((b"Content-Type", b"text/plain"), (b"X-Empty", b""), (b"X", b"a")),
    )


def test_a_status_that_follows_from_the_rest() -> None:
    assert parse_head(b"Content-Type: a/b\r\n\r\n")[:2] == (200, None)
    assert parse_head(b"Location: /x\r\n\r\n")[:2] == (302, None)
    assert parse_head(b"status: 201\r\nLocation: /x\r\n\r\n")[:2] == (201, None)


@pytest.mark.parametrize("second", [b"200 OK", b"404 No", b"junk"])
def test_of_several_statuses_the_first_counts(second: bytes) -> None:
    head = b"Status: 201 Made\r\nStatus: " + second + b"\r\nX: a\r\n\r\n"
    assert parse_head(head) == (201, b"Made", ((b"X", b"a"),))


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n", b"no colon\r\n\r\n", b"A b: c\r\n\r\n", b"A: b\r\n folded\r\n\r\n",
        b"Status: abc\r\n\r\n", b"Status: 20\r\n\r\n", b"Status: 2000\r\n\r\n",
        b"Status: 2\r\nStatus: 200\r\n\r\n", b"A: b\x00\r\n\r\n", b"A: b\rc\r\n\r\n",
        b"A : b\r\n\r\n", b": b\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_head(head: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_head(head)
    assert caught.value.status == 502
