"""The short ways for usual messages say the same as the long ones, and take nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainlab.wire.fastcgi import (
    NEED_DATA,
    ClientConnection,
    EndOfStdin,
    EndRequest,
    Request,
    Stdout,
    encode_ending,
    encode_pair,
    encode_start,
)
from chainlab.wire.fastcgi import ServerConnection as Application
from chainlab.wire.http1 import PAUSED, EndOfMessage, RequestHead, ResponseHead, ServerConnection

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"
PARAMS = encode_pair(b"REQUEST_METHOD", b"GET") + encode_pair(b"PATH_INFO", b"/x")
OK = ResponseHead(200, [(b"Content-Length", b"2")])


def seen(data: bytes) -> ServerConnection:
    """Return a new connection; the memo of all connections knows the head of `data`."""
    connection = ServerConnection()
    connection.receive_data(data)
    connection.next_event()
    return ServerConnection()


def test_a_request_seen_before_stands_as_if_read_step_by_step() -> None:
    connection = seen(GET)
    for _ in range(3):
        head = connection.receive_known(GET)
        assert isinstance(head, RequestHead)
        assert head.path == b"/a"
        assert connection.next_event() is PAUSED
        assert connection.send_complete(OK, b"ok").endswith(b"\r\n\r\nok")
        assert connection.ready
    connection.receive_data(GET)
    assert isinstance(connection.next_event(), RequestHead)  # the long way still works
    assert isinstance(connection.next_event(), EndOfMessage)


def test_what_the_short_way_of_http_leaves_alone() -> None:
    connection = seen(POST)
    assert connection.receive_known(POST) is None  # content follows
    assert connection.receive_known(GET + GET) is None  # pipelined
    assert connection.receive_known(GET[:-1]) is None
    assert connection.receive_known(b"GET /never/seen HTTP/1.1\r\nHost: a\r\n\r\n") is None
    connection.receive_data(b"GET /")
    assert connection.receive_known(GET) is None  # something has come before
    running = seen(GET)
    assert running.receive_known(GET) is not None
    assert running.receive_known(GET) is None  # not answered yet


def test_connection_close_is_kept_by_the_short_way() -> None:
    closing = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    connection = seen(closing)
    assert connection.receive_known(closing) is not None
    assert b"Connection: close\r\n" in connection.send_complete(OK, b"ok")
    assert connection.must_close


@given(pairs=st.binary(max_size=80), value=st.binary(min_size=24, max_size=24))
def test_an_encoded_request_is_read_as_it_was_meant(pairs: bytes, value: bytes) -> None:
    before, after = encode_ending(encode_pair(b"A", pairs), (b"ID", 24))
    client, application = ClientConnection(), Application({})
    application.receive_data(client.begin_encoded(encode_start(PARAMS), before + value + after))
    request = application.next_event()
    assert isinstance(request, Request)
    assert request.keep_conn
    assert request.params == {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/x",
        "A": pairs.decode("latin-1"),
        "ID": value.decode("latin-1"),
    }
    assert isinstance(application.next_event(), EndOfStdin)
    with pytest.raises(Exception, match="a request is running"):
        client.begin_encoded(b"", b"")


def begun() -> ClientConnection:
    client = ClientConnection()
    client.begin(PARAMS, keep_conn=True, body=b"")
    return client


def answer_of(content: bytes) -> bytes:
    application = Application({})
    application.receive_data(ClientConnection().begin(PARAMS, keep_conn=True, body=b""))
    application.next_event()
    return application.send_answer(content)


@given(st.binary(min_size=1, max_size=300))
def test_a_whole_answer_is_taken_in_one_step(content: bytes) -> None:
    client = begun()
    assert client.receive_whole(answer_of(content)) == content
    assert client.reusable


@given(st.binary(min_size=1, max_size=100), st.data())
def test_any_other_read_is_left_to_the_long_way(content: bytes, data: st.DataObject) -> None:
    whole = answer_of(content)
    at = data.draw(st.integers(0, len(whole) - 1))
    client = begun()
    assert client.receive_whole(whole[:at]) is None
    client.receive_data(whole[:at])
    got = b""
    while (event := client.next_event()) is not NEED_DATA:
        assert isinstance(event, Stdout)
        got += event.data
    client.receive_data(whole[at:])
    while not isinstance(event := client.next_event(), EndRequest):
        assert isinstance(event, Stdout)
        got += event.data
    assert got == content


def test_what_the_short_way_of_fastcgi_leaves_alone() -> None:
    whole = answer_of(b"content")
    assert ClientConnection().receive_whole(whole) is None  # no request runs
    client = begun()
    assert client.receive_whole(whole + b"\1") is None  # something follows
    assert client.receive_whole(b"\2" + whole[1:]) is None  # another version
    assert client.receive_whole(whole[:3] + b"\7" + whole[4:]) is None  # another request
    client.receive_data(whole[:10])
    assert client.receive_whole(whole) is None  # something has come before
