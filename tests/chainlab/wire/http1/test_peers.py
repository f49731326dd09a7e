"""The same bytes to ours, to llhttp (Node's parser, by httptools) and to h11: the same message.

Each reads one message out of the bytes, or none (refused, or waiting for more). Where a peer's
result differs from ours, the difference stands in DIFFERENCES by name: the reason that we refuse
with, or the pattern of what we read and the peer does not; with the section that decides it and
an example. A difference without a name fails the test; so does a name whose example shows no
difference any more. No bytes are known that two of the three read as two different messages.
"""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainlab.wire.http1 import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    Data,
    EndOfMessage,
    RemoteProtocolError,
    RequestHead,
    ServerConnection,
)


class Message(NamedTuple):
    """What a parser read."""

    method: bytes
    target: bytes
    body: bytes


def read_ours(raw: bytes) -> Message | str:
    """Return the message, or why there is none."""
    connection = ServerConnection()
    connection.receive_data(raw)
    head: RequestHead | None = None
    body = b""
    try:
        while (event := connection.next_event()) not in (NEED_DATA, PAUSED, CLOSED):
            if isinstance(event, RequestHead):
                head = event
            elif isinstance(event, Data):
                body += event.data
            elif isinstance(event, EndOfMessage):
                assert head is not None
                return Message(head.method, head.target, body)
    except RemoteProtocolError as error:
        return error.reason
    return "waiting for more"


class Listener:
    """What llhttp calls back; only the first message counts."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.target = b""
        self.body = b""
        self.message: Message | None = None

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.message is None:
            self.message = Message(self.parser.get_method(), self.target, self.body)


def read_llhttp(raw: bytes) -> Message | None:
    listener = Listener()
    try:
        listener.parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass  # what follows a complete message does not matter here
    return listener.message


def read_h11(raw: bytes) -> Message | None:
    connection = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    body = b""
    try:
        connection.receive_data(raw)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                return Message(bytes(request.method), bytes(request.target), body)
            else:
                return None
    except h11.RemoteProtocolError:
        return None


PEERS: Final = {"llhttp": read_llhttp, "h11": read_h11}


@dataclass(frozen=True)
class Difference:
    """Bytes on which the named peers' result differs from ours, and who says that we may."""

    name: str
    section: str
    peers: str
    ours: str
    """Our reason to refuse begins so; or, where we read, a pattern of the bytes after 'reads '."""
    example: bytes

    def explains(self, peer: str, raw: bytes, result: Message | str) -> bool:
        if peer not in self.peers.split():
            return False
        if isinstance(result, Message):
            pattern = self.ours.removeprefix("reads ")
            return (
                pattern != self.ours and re.search(pattern.encode(), raw, re.MULTILINE) is not None
            )
        return result.startswith(self.ours)


GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST: Final = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED: Final = POST + b"Transfer-Encoding: chunked\r\n\r\n"

DIFFERENCES: Final = [
    # Both peers read it, we refuse.
    Difference(
        "connect",
        "RFC 9110 section 9.3.6: a server that makes no tunnels may say so at once",
        "llhttp h11",
        "CONNECT",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    Difference(
        "coding-in-http10",
        "RFC 9112 section 6.1: framing faulty, even if chunked is understood",
        "llhttp h11",
        "Transfer-Encoding in HTTP/1.0",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    Difference(
        "fragment",
        "RFC 9112 section 3.2.1: origin-form is path and query",
        "llhttp h11",
        "a fragment",
        b"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    Difference(
        "target-form",
        "RFC 9112 section 3.2: four forms; * with OPTIONS only",
        "llhttp h11",
        "a malformed request target",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    Difference(
        "version",
        "RFC 9110 section 15.6.6: another major version is 505",
        "llhttp h11",
        "a version other than",
        b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
    ),
    Difference(
        "expectation",
        "RFC 9110 section 10.1.1: another expectation may be answered 417",
        "llhttp h11",
        "an expectation other than",
        GET + b"Expect: x\r\n\r\n",
    ),
    Difference(
        "host-syntax",
        "RFC 9112 section 3.2: an invalid Host is 400",
        "llhttp h11",
        "an invalid Host",
        b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
    ),
    Difference(
        "host-missing",
        "RFC 9112 section 3.2: 400",
        "llhttp",
        "no Host",
        b"GET / HTTP/1.1\r\n\r\n",
    ),
    Difference(
        "request-line-whitespace",
        "RFC 9112 section 3: one SP between the parts, CRLF at the end and nothing before",
        "llhttp",
        "a malformed request line",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    # llhttp reads it, we refuse.
    Difference(
        "http-0.9",
        "RFC 9112 section 3: a request line has a version",
        "llhttp",
        "a request line without a version",
        b"GET /DHTTP/1.0\r\n\r\n",
    ),
    Difference(
        "malformed-coding",
        "RFC 9110 section 10.1.4: a coding is a token",
        "llhttp",
        "a malformed Transfer-Encoding",
        POST + b"Transfer-Encoding: g\x8czip, chunked\r\n\r\n0\r\n\r\n",
    ),
    Difference(
        "unknown-coding",
        "RFC 9112 section 6.1: a coding not understood is 501",
        "llhttp",
        "an unknown transfer coding",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    Difference(
        "host-twice",
        "RFC 9112 section 3.2: more than one Host is 400",
        "llhttp",
        "more than one Host",
        GET + b"Host: b\r\n\r\n",
    ),
    # h11 reads it, we refuse.
    Difference(
        "host-missing-above-1.1",
        "RFC 9110 section 2.5: a higher minor is read as the highest one known",
        "h11",
        "no Host",
        b"GET / HTTP/1.2\r\n\r\n",
    ),
    Difference(
        "request-line-ending",
        "RFC 9112 section 2.2: a recipient may accept a bare LF; CRLF may be insisted on",
        "h11",
        "a malformed request line",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    ),
    Difference(
        "bad-whitespace-after-chunk-size",
        "RFC 9112 section 7.1: nothing between the size and CRLF but extensions",
        "h11",
        "a bad chunk size",
        CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
    ),
    Difference(
        "bare-lf",
        "RFC 9112 section 2.2: a recipient may accept it; two that differ are smuggled through",
        "h11",
        "a bare LF",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    ),
    Difference(
        "control-in-value",
        "RFC 9110 section 5.5: such values are invalid",
        "h11",
        "a control character in the value",
        GET + b"X: a\x01b\r\n\r\n",
    ),
    Difference(
        "obs-fold",
        "RFC 9112 section 5.2: 400, or replaced by spaces",
        "h11",
        "a folded header line",
        GET + b" folded\r\n\r\n",
    ),
    Difference(
        "length-list",
        "RFC 9110 section 8.6: equal values may be merged or refused",
        "h11",
        "a malformed Content-Length",
        POST + b"Content-Length: 5, 5\r\n\r\nhello",
    ),
    Difference(
        "length-repeated",
        "RFC 9110 section 8.6: equal values may be merged or refused",
        "h11",
        "more than one Content-Length",
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    ),
    Difference(
        "both-framings",
        "RFC 9112 section 6.1: may be refused, ought to be handled as an error",
        "h11",
        "both Content-Length and Transfer-Encoding",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    Difference(
        "framing-in-trailers",
        "RFC 9110 section 6.5.1: a sender must not",
        "h11",
        "content-length in the trailers",
        CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n",
    ),
    # We read it, the peer refuses.
    Difference(
        "unknown-method",
        "RFC 9110 section 9.1: any token; what it means is the application's business",
        "llhttp",
        r"reads ^(?:\r\n)?(?!(?:GET|POST|HEAD|PUT|OPTIONS) )",
        b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    Difference(
        "higher-minor",
        "RFC 9110 section 2.5: read as the highest minor version known",
        "llhttp",
        r"reads ^\S+ \S+ HTTP/1\.[2-9]\r$",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    ),
    Difference(
        "leading-empty-line",
        "RFC 9112 section 2.2: a server should ignore at least one",
        "h11",
        r"reads \A\r\n",
        b"\r\n" + GET + b"\r\n",
    ),
]


def differs(raw: bytes, peer: str) -> tuple[Message | str, bool]:
    result = read_ours(raw)
    theirs = PEERS[peer](raw)
    return result, (theirs is not None if isinstance(result, str) else theirs != result)


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_each_named_difference_is_there(difference: Difference) -> None:
    for peer in difference.peers.split():
        result, there = differs(difference.example, peer)
        assert there, f"{peer} no longer differs: remove the name"
        assert difference.explains(peer, difference.example, result)


METHODS = [b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"get", b"G@T", b"", b"FOO", b"CONNECT"]
TARGETS = [b"/", b"/a?b", b"*", b"http://h/x", b"a", b"/#f", b"/\x80", b"", b"/a b", b"//x"]
TARGETS += [b"https://u@h/", b"http://"]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b""]
VERSIONS += [b"HTTP/1.10", b"HTTP/1"]
FIELDS = [b"Host: b", b"Host:", b"Host: a b", b"Host: a,b", b"Connection: close", b"Expect: x"]
FIELDS += [b"Content-Length: 5", b"Content-Length: 3", b"Content-Length: +5", b"Content-Length:"]
FIELDS += [b"Content-Length: 5, 5", b"content-length: 0", b"Transfer-Encoding: chunked"]
FIELDS += [b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: gzip", b"X: a\x01b", b"X : a"]
FIELDS += [b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: xchunked", b" X: a", b"X"]
FIELDS += [b": a", b"X: \x00", b"X: \x80", b"X(: a", b"Expect: 100-continue", b"X: a\tb", b"Y: z\r"]
BODIES = [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\nT: 1\r\n\r\n"]
BODIES += [b"0x5\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"5 \r\nhello\r\n0\r\n\r\n"]
BODIES += [b"5\r\nhello!\r\n0\r\n\r\n", b"0\r\n\r\n", b"5;a=\x01\r\nhello\r\n0\r\n\r\n"]
BODIES += [b"0\r\nContent-Length: 3\r\n\r\n", b"10000000000000000\r\n"]
ENDINGS = [b"\r\n", b"\n", b"\r", b"\r\r\n"]


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Mostly correct requests, each part now and then replaced by a doubtful one."""

    def part(choices: list[bytes], odds: int) -> bytes:
        doubtful = draw(st.integers(0, odds)) == odds
        return draw(st.sampled_from(choices)) if doubtful else choices[0]

    space = [b" ", b"  ", b"\t"]
    raw = part([b"", b"\r\n", b"\n", b"\r\n\r\n", b" "], 15)
    raw += part(METHODS, 2) + part(space, 30) + part(TARGETS, 3) + part(space, 30)
    raw += part(VERSIONS, 5) + part(ENDINGS, 30)
    raw += part([b"Host: a\r\n", b""], 8)
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
        raw += field + part(ENDINGS, 30)
    raw += part(ENDINGS, 30) + part(BODIES, 1)
    if draw(st.integers(0, 6)) == 6:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=1)) + raw[at + draw(st.integers(0, 1)) :]
    return raw


@pytest.mark.parametrize("peer", PEERS)
@settings(max_examples=2000, deadline=None)
@given(raw=messages())
def test_every_other_message_is_read_alike(peer: str, raw: bytes) -> None:
    result, there = differs(raw, peer)
    if there and not any(known.explains(peer, raw, result) for known in DIFFERENCES):
        theirs = PEERS[peer](raw)
        pytest.fail(f"no name for this difference: {raw!r}: ours {result!r}, {peer} {theirs!r}")
