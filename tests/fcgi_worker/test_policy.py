"""The pure parts of the worker: numbers and bytes in, numbers and bytes out."""

import pytest

from fcgi_worker.head import encode_head
from fcgi_worker.idle_connections import FETCH, decode_message, encode_message
from fcgi_worker.policy import View, failed_to_start, respawn_delay, static


def views(kinds: str) -> list[View]:
    """A letter for each child: Ready, Booting, Due and ready, due and bOoting, due and busY."""
    return [
        View(number, letter in "RDY", letter in "RB", letter == "Y")
        for number, letter in enumerate(kinds, 1)
    ]


@pytest.mark.parametrize(
    ("children", "wanted", "proven", "fork", "leave"),
    [
        ("", 4, False, 4, []),  # the start
        ("BBBB", 4, False, 0, []),
        ("RRRR", 4, True, 0, []),
        ("RR", 4, True, 2, []),  # two have died
        ("DDDD", 4, False, 1, []),  # a reload: one child tries the new code
        ("DDDDB", 4, False, 0, []),
        ("DDD", 4, False, 1, []),  # it died
        ("D", 4, False, 3, []),  # three old ones died, too: one must try in any case
        ("DDDDR", 4, True, 3, [1]),  # it is ready: the others follow
        ("YDDDR", 4, True, 3, [2]),  # who is idle leaves first
        ("ODDDR", 4, True, 3, [1]),  # who serves nothing, before that
        ("DDRRRR", 4, True, 0, [1, 2]),
        ("RRRD", 4, True, 1, []),  # a limit: the child serves until its successor is ready
        ("RRRDB", 4, True, 0, []),
        ("RRRDR", 4, True, 0, [4]),
    ],
)
def test_who_is_forked_and_who_leaves(
    children: str, wanted: int, proven: bool, fork: int, leave: list[int]
) -> None:
    assert static(views(children), wanted, proven) == (fork, leave)


@pytest.mark.parametrize(
    ("ready", "requests", "lived", "failed"),
    [
        (False, 0, 60.0, True),
        (True, 0, 0.5, True),
        (True, 1, 0.5, False),  # it crashed on a request
        (True, 0, 60.0, False),
    ],
)
def test_what_is_a_failed_start(ready: bool, requests: int, lived: float, failed: bool) -> None:
    assert failed_to_start(ready, requests, lived) is failed


def test_the_first_child_waits_for_nothing() -> None:
    assert respawn_delay(0) == 0


def test_the_delay_doubles_up_to_half_a_minute() -> None:
    delays = [respawn_delay(failures) for failures in range(1, 40)]
    assert delays[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert delays == sorted(delays)
    assert max(delays) == 30.0
    assert respawn_delay(1_000_000) == 30.0


@pytest.mark.parametrize("slot", [0, 1, 255, 256, 65535, (1 << 32) - 1])
def test_messages_come_back(slot: int) -> None:
    assert decode_message(encode_message(FETCH, slot)) == (FETCH, slot)


def test_a_head_is_cgi() -> None:
    head = encode_head("404 Not Found", (("Content-Type", "text/plain"), ("X-A", "b c")))
    assert head.whole == b"Status: 404 Not Found\r\nContent-Type: text/plain\r\nX-A: b c\r\n\r\n"
    assert head.length is None
    assert head.has_body


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "100 Continue"])
def test_some_statuses_have_no_body(status: str) -> None:
    assert not encode_head(status, ()).has_body


def test_a_reason_is_not_required() -> None:
    assert encode_head("200", ()).whole == b"Status: 200\r\n\r\n"


def test_equal_lengths_count_once() -> None:
    headers = (("Content-Length", "5"), ("content-length", "005"))
    assert encode_head("200 OK", headers).whole == b"Status: 200 OK\r\nContent-Length: 5\r\n\r\n"


def test_different_lengths_are_refused() -> None:
    headers = (("Content-Length", "5"), ("Content-Length", "6"))
    with pytest.raises(ValueError, match="two Content-Length headers: 5 and 6"):
        encode_head("200 OK", headers)


def test_equal_heads_are_encoded_once() -> None:
    headers = (("X-Once", "1"),)
    assert encode_head("200 OK", headers) is encode_head("200 OK", headers)


@pytest.mark.parametrize(
    "status", ["", "OK", "20 OK", "2000 OK", "200OK", "200 A\r\nB: c", "012 X"]
)
def test_a_bad_status_is_refused(status: str) -> None:
    with pytest.raises(ValueError, match="three digits and a reason"):
        encode_head(status, ())


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (("", "x"), "is not a token"),
        (("A B", "x"), "is not a token"),
        (("A:", "x"), "is not a token"),
        (("A", "x\ny"), "control characters"),
        (("A", "x\0"), "control characters"),
        (("A", "\u20ac"), "latin-1"),
        (("Content-Length", "five"), "not a number of bytes"),
        (("content-length", "+5"), "not a number of bytes"),
        (("content-length", ""), "not a number of bytes"),
    ],
)
def test_a_bad_header_is_refused(header: tuple[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_head("200 OK", (header,))
