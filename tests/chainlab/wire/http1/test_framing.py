"""Bounds on the framing of content: what chunks may cost, lengths with zeros, limits by request."""

import pytest

from chainlab.wire.http1 import (
    NEED_DATA,
    ClientConnection,
    Data,
    EndOfMessage,
    Limits,
    RemoteProtocolError,
    RequestHead,
    ResponseHead,
    ServerConnection,
)

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def receive(connection: ServerConnection | ClientConnection, data: bytes) -> bytes:
    """Return the content of one message, received at once."""
    connection.receive_data(data)
    content = b""
    while not isinstance(event := connection.next_event(), EndOfMessage):
        assert event is not NEED_DATA
        content += event.data if isinstance(event, Data) else b""
    return content


def feed(connection: ServerConnection, pieces: list[bytes]) -> None:
    """Receive the pieces one after the other; return when more is needed."""
    for piece in pieces:
        connection.receive_data(piece)
        while connection.next_event() is not NEED_DATA:
            pass


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


@pytest.mark.parametrize(
    ("chunks", "content"),
    [
        (chunk(b"x") * 5000, b"x" * 5000),
        (chunk(b"xxx") * 20_000, b"x" * 60_000),  # 5 bytes of framing: within twice the content
        (chunk(b"x" * 2100, b";a=" + b"b" * 4000) * 100, b"x" * 210_000),
        ((chunk(b"x") * 5000 + chunk(b"y" * 20_000)) * 3, (b"x" * 5000 + b"y" * 20_000) * 3),
    ],
    ids=["small now and then", "small", "extensions", "in turn"],
)
def test_framing_in_proportion_is_fine(chunks: bytes, content: bytes) -> None:
    assert receive(ServerConnection(), CHUNKED + chunks + b"0\r\n\r\n") == content


@pytest.mark.parametrize(
    "chunks",
    [
        chunk(b"x") * 5500,
        chunk(b"x", b";a=" + b"b" * 1000) * 17,
        (chunk(b"x", b";" + b"a" * 100) + chunk(b"yy")) * 200,
        b"00000001\r\nx\r\n" * 1700,
    ],
    ids=["one byte each", "extensions", "in turn", "zeros"],
)
def test_framing_out_of_proportion_is_refused(chunks: bytes) -> None:
    for piece in (len(chunks), 1000):  # at once, or in many reads
        connection = ServerConnection()
        pieces = [CHUNKED, *(chunks[at : at + piece] for at in range(0, len(chunks), piece))]
        with pytest.raises(RemoteProtocolError, match="too many tiny chunks") as caught:
            feed(connection, pieces)
        assert caught.value.status == 400
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    upstream = ClientConnection()  # is not bounded: an application may send what it likes
    upstream.send_request(b"GET", b"/", [(b"Host", b"a")])
    receive(upstream, answer)


@pytest.mark.parametrize(
    ("digits", "length"),
    [(b"0" * 34, 0), (b"0" * 5000 + b"3", 3), (b"03", 3), (b"1" + b"0" * 17, 10**17)],
)
def test_a_length_may_begin_with_zeros(digits: bytes, length: int) -> None:
    connection = ServerConnection(Limits(body=None))
    connection.receive_data(HEAD + b"Content-Length: " + digits + b"\r\n\r\n")
    head = connection.next_event()
    assert isinstance(head, RequestHead)
    assert head.content_length == length
    assert ResponseHead(200, [(b"Content-Length", digits)]).content_length == length


def test_a_length_that_is_too_large_is_413_and_not_a_number_400() -> None:
    for digits, status in (
        (b"1" + b"0" * 18, 413),
        (b"9" * 5000, 413),
        (b"+3", 400),
        (b"3 3", 400),
    ):
        connection = ServerConnection()
        connection.receive_data(HEAD + b"Content-Length: " + digits + b"\r\n\r\n")
        with pytest.raises(RemoteProtocolError) as caught:
            connection.next_event()
        assert caught.value.status == status


@pytest.mark.parametrize(
    "request_bytes",
    [HEAD + b"Content-Length: 6\r\n\r\n123456", CHUNKED + chunk(b"123") * 2],
)
def test_a_limit_for_one_request(request_bytes: bytes) -> None:
    def limit_and_go_on(connection: ServerConnection, limit: int | None) -> Data:
        connection.limit_body(limit)
        event = connection.next_event()
        assert isinstance(event, Data)
        return event

    for limit, refused in ((5, True), (6, False), (None, False)):
        connection = ServerConnection()
        connection.receive_data(request_bytes)
        assert isinstance(connection.next_event(), RequestHead)
        if not refused:
            assert limit_and_go_on(connection, limit).data.startswith(b"123")
            continue
        with pytest.raises(RemoteProtocolError, match="a body longer than 5 bytes") as caught:
            limit_and_go_on(connection, limit)
        assert caught.value.status == 413
        assert connection.send_complete(ResponseHead(413), b"").startswith(b"HTTP/1.1 413 ")
        assert connection.must_close


def test_an_upgrade_field_is_named_by_connection() -> None:
    head = ResponseHead(426, [(b"Upgrade", b"h2c")])
    encoded = head.encode(minor=1, keep_alive=False, chunked=False)
    assert encoded.endswith(b"Upgrade: h2c\r\nConnection: upgrade, close\r\n")
    encoded = head.encode(minor=1, keep_alive=True, chunked=False)
    assert encoded.endswith(b"Connection: upgrade\r\n")
