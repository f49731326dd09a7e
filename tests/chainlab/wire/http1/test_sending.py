"""What the server and the client write, and what they refuse to write."""

from itertools import product

import pytest

from chainlab.wire.http1 import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    ClientConnection,
    Data,
    EndOfMessage,
    Limits,
    LocalProtocolError,
    RemoteProtocolError,
    RequestHead,
    ResponseHead,
    ServerConnection,
)

TEXT = ResponseHead(200, [(b"Content-Type", b"text/plain")])


def serve(raw: bytes, limits: Limits | None = None) -> ServerConnection:
    """A connection that has read one bodyless request and owes the response."""
    connection = ServerConnection(limits)
    connection.receive_data(raw)
    assert isinstance(connection.next_event(), RequestHead)
    assert isinstance(connection.next_event(), EndOfMessage)
    assert connection.next_event() is PAUSED
    return connection


def get(method: bytes = b"GET", version: bytes = b"1.1", fields: bytes = b"") -> bytes:
    return b"%b / HTTP/%b\r\nHost: a\r\n%b\r\n" % (method, version, fields)


def test_a_whole_response() -> None:
    connection = serve(get())
    sent = connection.send_complete(TEXT, b"hello", b"Date: now\r\n")
    assert sent == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        b"Date: now\r\nContent-Length: 5\r\n\r\nhello"
    )
    assert connection.next_event() is NEED_DATA
    assert not connection.must_close


def test_a_head_request_gets_the_length_without_the_content() -> None:
    sent = serve(get(b"HEAD")).send_complete(TEXT, b"hello")
    assert b"Content-Length: 5\r\n" in sent
    assert sent.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_content_never_has_any(status: int) -> None:
    sent = serve(get()).send_complete(ResponseHead(status), b"hello")
    assert sent.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in sent
    assert b"Transfer-Encoding" not in sent


def test_unknown_length_is_chunked() -> None:
    connection = serve(get())
    sent = connection.send_response(TEXT)
    assert b"Transfer-Encoding: chunked\r\n" in sent
    assert connection.send_data(b"hello world!") == b"c\r\nhello world!\r\n"
    assert connection.send_data(b"") == b"", "an empty chunk would end the content"
    assert connection.end(((b"x", b"1"),)) == b"0\r\nx: 1\r\n\r\n"
    assert connection.next_event() is NEED_DATA


def test_unknown_length_to_http10_lasts_until_the_close() -> None:
    connection = serve(get(version=b"1.0", fields=b"Connection: keep-alive\r\n"))
    sent = connection.send_response(TEXT)
    assert b"Transfer-Encoding" not in sent
    assert b"Connection: close\r\n" in sent
    assert connection.send_data(b"hello") == b"hello"
    assert connection.end() == b""
    assert connection.must_close


def test_http10_keep_alive_is_confirmed() -> None:
    connection = serve(get(version=b"1.0", fields=b"Connection: keep-alive\r\n"))
    assert b"\r\nConnection: keep-alive\r\n" in connection.send_complete(TEXT, b"x")
    assert not connection.must_close


def test_close_is_said_and_done() -> None:
    connection = serve(get(fields=b"Connection: close\r\n"))
    assert b"\r\nConnection: close\r\n" in connection.send_complete(TEXT, b"x")
    assert connection.must_close
    assert connection.next_event() is CLOSED


def test_a_server_that_drains_closes_after_the_response() -> None:
    connection = serve(get())
    connection.keep_alive = False
    assert b"\r\nConnection: close\r\n" in connection.send_complete(TEXT, b"x")
    assert connection.must_close


def test_content_length_is_held_to() -> None:
    five = ResponseHead(200, [(b"Content-Length", b"5")])
    connection = serve(get())
    connection.send_response(five)
    connection.send_data(b"hel")
    with pytest.raises(LocalProtocolError, match="2 bytes short"):
        connection.end()
    with pytest.raises(LocalProtocolError, match="beyond Content-Length"):
        connection.send_data(b"lo!")
    connection.sent_by_caller(2)
    assert connection.end() == b""
    with pytest.raises(LocalProtocolError, match="a body of 3 bytes"):
        serve(get()).send_complete(five, b"abc")


def test_a_second_response_is_refused() -> None:
    connection = serve(get())
    connection.send_complete(TEXT, b"x")
    with pytest.raises(LocalProtocolError, match="no request waits"):
        connection.send_complete(TEXT, b"x")
    with pytest.raises(LocalProtocolError, match="no response has begun"):
        connection.send_data(b"x")


@pytest.mark.parametrize(
    "head",
    [
        ResponseHead(200, [(b"X", b"a\r\nSet-Cookie: b")]),
        ResponseHead(200, [(b"X\r\nY", b"a")]),
        ResponseHead(200, [(b"X Y", b"a")]),
        ResponseHead(200, [], b"OK\r\nX: y"),
        ResponseHead(200, [(b"Connection", b"close")]),
        ResponseHead(200, [(b"Transfer-Encoding", b"chunked")]),
        ResponseHead(42),
    ],
)
def test_a_head_that_would_split_the_response_is_refused(head: ResponseHead) -> None:
    with pytest.raises(LocalProtocolError):
        serve(get()).send_complete(head, b"")


@pytest.mark.parametrize("lengths", [(b"x",), (b"1", b"1"), (b"-1",), (b"",)])
def test_a_length_of_ours_is_one_number(lengths: tuple[bytes, ...]) -> None:
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        ResponseHead(200, [(b"Content-Length", length) for length in lengths])


def test_continue_is_sent_once_and_only_to_who_waits() -> None:
    connection = ServerConnection()
    connection.receive_data(
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    connection.next_event()
    assert connection.next_event() is NEED_DATA
    assert connection.awaiting_continue
    assert connection.send_continue() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert connection.send_continue() == b""
    connection.receive_data(b"hi")
    piece = connection.next_event()
    assert isinstance(piece, Data)
    assert piece.data == b"hi"


def test_a_final_answer_instead_of_continue_closes() -> None:
    connection = ServerConnection()
    connection.receive_data(
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    connection.next_event()
    assert b"Connection: close\r\n" in connection.send_complete(ResponseHead(401), b"")
    assert connection.must_close


def test_an_early_answer_leaves_the_body_to_be_discarded() -> None:
    connection = ServerConnection()
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    connection.next_event()
    connection.send_complete(TEXT, b"no need")
    assert not connection.must_close
    assert isinstance(connection.next_event(), Data)
    connection.receive_data(b"cd" + get())
    assert isinstance(connection.next_event(), Data)
    assert isinstance(connection.next_event(), EndOfMessage)
    assert isinstance(connection.next_event(), RequestHead), "the next cycle begins by itself"


def test_pipelined_requests_wait_for_the_response_before() -> None:
    connection = serve(get() + get(b"PUT"))
    assert connection.buffered == len(get(b"PUT"))
    connection.send_complete(TEXT, b"x")
    head = connection.next_event()
    assert isinstance(head, RequestHead)
    assert head.method == b"PUT"


def test_identical_heads_are_one_object() -> None:
    connection = ServerConnection()
    heads = []
    for _ in range(2):
        connection.receive_data(get(fields=b"X-Same: yes\r\n"))
        heads.append(connection.next_event())
        connection.next_event()
        connection.send_complete(TEXT, b"x")
    assert heads[0] is heads[1]


def test_limits_do_not_leak_through_the_memo() -> None:
    raw = get(fields=b"X: 1\r\nY: 2\r\n")
    serve(raw)
    strict = ServerConnection(Limits(fields=2))
    strict.receive_data(raw)
    with pytest.raises(RemoteProtocolError):
        strict.next_event()


def test_eof_between_requests_is_a_close() -> None:
    connection = ServerConnection()
    connection.receive_eof()
    assert connection.next_event() is CLOSED
    assert connection.must_close


def test_eof_after_a_request_still_gets_the_response() -> None:
    connection = serve(get())
    connection.receive_eof()
    assert connection.send_complete(TEXT, b"x").endswith(b"x")
    assert connection.next_event() is CLOSED


def test_a_megabyte_head_byte_by_byte_is_refused_in_bounded_memory() -> None:
    connection = ServerConnection()
    connection.receive_data(b"GET / HTTP/1.1\r\n")
    connection.next_event()

    def drip() -> None:
        for _ in range(1_000_000):
            connection.receive_data(b"X")
            connection.next_event()

    with pytest.raises(RemoteProtocolError) as refused:
        drip()
    assert refused.value.status == 431
    assert connection.buffered == 0


@pytest.mark.parametrize(
    ("fields", "content", "sent"),
    [
        ([(b"Content-Length", b"5")], b"hello", b"hello"),
        ([(b"Transfer-Encoding", b"chunked")], b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
        ([], b"", b""),
    ],
)
def test_the_client_frames_its_request(
    fields: list[tuple[bytes, bytes]], content: bytes, sent: bytes
) -> None:
    connection = ClientConnection()
    head = connection.send_request(b"POST", b"/x", fields, b"X-Request-Id: 7\r\n")
    assert head.startswith(b"POST /x HTTP/1.1\r\n")
    assert head.endswith(b"X-Request-Id: 7\r\n\r\n")
    body = connection.send_data(content) if content else b""
    assert body + connection.end() == sent


@pytest.mark.parametrize(
    ("method", "target", "fields"),
    [
        (b"GE T", b"/", []),
        (b"GET", b"/ HTTP/1.1\r\nX: y", []),
        (b"GET", b"", []),
        (b"GET", b"/", [(b"X", b"a\r\nb: c")]),
        (b"GET", b"/", [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")]),
    ],
)
def test_the_client_refuses_to_smuggle(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    with pytest.raises(LocalProtocolError):
        ClientConnection().send_request(method, target, fields)


def test_the_client_holds_to_its_length() -> None:
    connection = ClientConnection()
    connection.send_request(b"PUT", b"/", [(b"Content-Length", b"2")])
    with pytest.raises(LocalProtocolError, match="beyond"):
        connection.send_data(b"abc")
    connection.send_data(b"a")
    with pytest.raises(LocalProtocolError, match="short"):
        connection.end()


def test_the_client_keeps_a_clean_connection_only() -> None:
    connection = ClientConnection()
    for _ in range(2):
        connection.send_request(b"GET", b"/", [(b"Host", b"a")])
        with pytest.raises(LocalProtocolError, match="running"):
            connection.send_request(b"GET", b"/", [])
        assert not connection.response_started
        connection.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        assert connection.response_started
        kinds = [type(connection.next_event()) for _ in range(3)]
        assert kinds == [ResponseHead, Data, EndOfMessage]
        assert connection.reusable
    connection.receive_data(b"more")
    assert not connection.reusable
    with pytest.raises(RemoteProtocolError, match="belong to no response"):
        connection.next_event()


@pytest.mark.parametrize(
    ("method", "minor", "keep", "length"),
    list(product([b"GET", b"HEAD"], [b"0", b"1"], [b"close", b"keep-alive"], [True, False])),
)
def test_our_client_understands_our_server(
    method: bytes, minor: bytes, keep: bytes, length: bool
) -> None:
    server = serve(get(method, b"1." + minor, b"Connection: %b\r\n" % keep))
    fields = [(b"Content-Length", b"5")] if length else []
    sent = server.send_response(ResponseHead(200, fields))
    sent += server.send_data(b"hello") + server.end()
    client = ClientConnection()
    client.send_request(method, b"/", [])
    client.receive_data(sent)
    if server.must_close:
        client.receive_eof()
    assert isinstance(client.next_event(), ResponseHead)
    content = b""
    while isinstance(event := client.next_event(), Data):
        content += event.data
    assert isinstance(event, EndOfMessage)
    assert content == (b"" if method == b"HEAD" else b"hello")
    in_doubt = method == b"HEAD" and b"\r\nTransfer-Encoding: chunked\r\n" in sent
    assert client.reusable == (not server.must_close and not in_doubt)


def test_the_client_keeps_no_connection_on_which_a_last_chunk_may_come_after_head() -> None:
    for late in (b"", b"0\r\n\r\n"):
        connection = ClientConnection()
        connection.send_request(b"HEAD", b"/", [(b"Host", b"a")])
        connection.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + late)
        kinds = [type(connection.next_event()) for _ in range(2)]
        assert kinds == [ResponseHead, EndOfMessage]
        assert not connection.reusable
