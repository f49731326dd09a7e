"""Both ends of a FastCGI connection, against each other and against awkward peers."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainlab.wire.fastcgi import (
    CANT_MPX_CONN,
    NEED_DATA,
    OVERLOADED,
    REQUEST_COMPLETE,
    UNKNOWN_ROLE,
    Abort,
    ClientConnection,
    EndOfStdin,
    EndRequest,
    ProtocolError,
    Request,
    ServerConnection,
    Stderr,
    Stdin,
    Stdout,
    Values,
    encode_pairs,
    records,
)
from chainlab.wire.fastcgi.records import RecordReader, encode_record

VALUES = {"FCGI_MAX_CONNS": "64", "FCGI_MAX_REQS": "4", "FCGI_MPXS_CONNS": "0"}
PARAMS = encode_pairs([(b"REQUEST_METHOD", b"POST"), (b"QUERY_STRING", b"q=" + b"x" * 200)])


def events_of(connection: ServerConnection | ClientConnection) -> Iterator[object]:
    while (event := connection.next_event()) is not NEED_DATA:
        yield event


def serve(data: bytes, server: ServerConnection | None = None) -> list[object]:
    server = server or ServerConnection(VALUES)
    server.receive_data(data)
    return list(events_of(server))


def sent_records(data: bytes) -> list[tuple[int, int, bytes]]:
    reader, found = RecordReader(), []
    reader.receive_data(data)
    while reader.records or reader.cut():
        record = reader.records.pop()
        assert record[3]
        found.append(record[:3])
    assert reader.between_records
    return found


def begin(request_id: int = 1, role: int = 1, flags: int = 0) -> bytes:
    body = records.BEGIN_BODY.pack(role, flags)
    return encode_record(records.BEGIN_REQUEST, request_id, body)


def end(request_id: int, status: int, app_status: int = 0) -> tuple[int, int, bytes]:
    return records.END_REQUEST, request_id, records.END_BODY.pack(app_status, status)


# From one end to the other


@given(st.binary(max_size=200_000), st.lists(st.integers(1, 70_000), max_size=30))
def test_a_request_and_its_answer_survive_any_fragmentation(body: bytes, cuts: list[int]) -> None:
    client, server = ClientConnection(), ServerConnection(VALUES)
    request = client.begin(PARAMS, keep_conn=True, body=body)
    events, at = [], 0
    for cut in [*cuts, len(request)]:
        if request[at : at + cut]:
            server.receive_data(request[at : at + cut])
            events += list(events_of(server))
            at += cut
    assert isinstance(events[0], Request)
    assert events[0].params == {"REQUEST_METHOD": "POST", "QUERY_STRING": "q=" + "x" * 200}
    assert events[0].keep_conn
    assert b"".join(event.data for event in events if isinstance(event, Stdin)) == body
    assert isinstance(events[-1], EndOfStdin)

    client.receive_data(server.send_stdout(body) + server.end_request(app_status=3))
    answers = list(events_of(client))
    assert b"".join(event.data for event in answers if isinstance(event, Stdout)) == body
    final = answers[-1]
    assert isinstance(final, EndRequest)
    assert (final.app_status, final.protocol_status) == (3, REQUEST_COMPLETE)
    assert client.reusable
    assert server.idle


def test_byte_by_byte() -> None:
    client, server = ClientConnection(), ServerConnection(VALUES)
    events = []
    for byte in client.begin(PARAMS, keep_conn=False, body=b"ab"):
        events += serve(bytes((byte,)), server)
    kinds = [type(event) for event in events]
    assert kinds == [Request, Stdin, Stdin, EndOfStdin]


def test_a_body_that_follows_later() -> None:
    client, server = ClientConnection(), ServerConnection()
    (request,) = serve(client.begin(PARAMS, keep_conn=True), server)
    assert isinstance(request, Request)
    (piece,) = serve(client.send_stdin(b"part"), server)
    assert isinstance(piece, Stdin)
    (last,) = serve(client.end_stdin(), server)
    assert isinstance(last, EndOfStdin)


def test_a_kept_connection_carries_one_request_after_the_other() -> None:
    client, server = ClientConnection(), ServerConnection()
    for _ in range(3):
        assert len(serve(client.begin(PARAMS, keep_conn=True, body=b""), server)) == 2
        client.receive_data(server.send_stdout(b"Status: 200\r\n\r\nhi") + server.end_request())
        assert len(list(events_of(client))) == 2
        assert client.reusable


def test_a_second_request_while_one_runs_is_the_callers_mistake() -> None:
    client = ClientConnection()
    client.begin(b"", keep_conn=True, body=b"")
    with pytest.raises(ProtocolError, match="running"):
        client.begin(b"", keep_conn=True, body=b"")


def test_parameters_cut_across_records() -> None:
    stream = begin()
    for byte in PARAMS:
        stream += encode_record(records.PARAMS, 1, bytes((byte,)))
    stream += encode_record(records.PARAMS, 1)
    (request,) = serve(stream)
    assert isinstance(request, Request)
    assert request.params["REQUEST_METHOD"] == "POST"


def test_parameters_of_more_than_one_record() -> None:
    pairs = encode_pairs((b"N%d" % n, b"v" * 1000) for n in range(100))
    request = serve(ClientConnection().begin(pairs, keep_conn=True, body=b""))[0]
    assert isinstance(request, Request)
    assert len(request.params) == 100


def test_varying_parameters_join_the_others() -> None:
    for number in (b"1", b"2"):
        varying = encode_pairs([(b"HTTP_X_REQUEST_ID", number)])
        stream = ClientConnection().begin(PARAMS, keep_conn=True, body=b"", varying=varying)
        request = serve(stream)[0]
        assert isinstance(request, Request)
        assert request.params["HTTP_X_REQUEST_ID"] == number.decode()
        assert len(request.params) == 3
        request.params["mine"] = "must not be seen by the next request"


# The server's answers


def test_get_values_is_answered_truly_and_unknown_names_are_left_out() -> None:
    client, server = ClientConnection(), ServerConnection(VALUES)
    unknown = encode_record(records.GET_VALUES, 0, encode_pairs([(b"FCGI_COLOUR", b"")]))
    assert serve(client.get_values() + unknown, server) == []
    client.receive_data(server.bytes_to_send())
    first, second = events_of(client)
    assert isinstance(first, Values)
    assert first.values == VALUES
    assert isinstance(second, Values)
    assert second.values == {}
    assert server.bytes_to_send() == b""


def test_get_values_is_answered_while_a_request_runs() -> None:
    client, server = ClientConnection(), ServerConnection(VALUES)
    serve(client.begin(PARAMS, keep_conn=True) + client.get_values(), server)
    assert sent_records(server.bytes_to_send())[0][0] == records.GET_VALUES_RESULT


def test_an_unknown_management_type_is_answered_unknown_type() -> None:
    server = ServerConnection()
    assert serve(encode_record(42, 0, b"what is this"), server) == []
    answer = sent_records(server.bytes_to_send())
    assert answer == [(records.UNKNOWN_TYPE, 0, bytes([42, 0, 0, 0, 0, 0, 0, 0]))]


@pytest.mark.parametrize("role", [records.AUTHORIZER, records.FILTER, 0, 9])
def test_other_roles_are_answered_unknown_role(role: int) -> None:
    server = ServerConnection()
    rest = encode_record(records.PARAMS, 5, PARAMS) + encode_record(records.PARAMS, 5)
    assert serve(begin(5, role) + rest, server) == []
    assert sent_records(server.bytes_to_send()) == [end(5, UNKNOWN_ROLE)]
    assert server.idle


def test_a_second_request_on_the_connection_is_answered_cant_mpx_conn() -> None:
    server = ServerConnection()
    stream = ClientConnection().begin(PARAMS, keep_conn=True) + begin(2)
    stream += encode_record(records.PARAMS, 2, b"\x01\x01AB") + encode_record(records.PARAMS, 2)
    (request,) = serve(stream, server)
    assert isinstance(request, Request)
    assert request.request_id == 1
    assert sent_records(server.bytes_to_send()) == [end(2, CANT_MPX_CONN)]


def test_a_refused_request_between_cut_parameters_does_not_disturb_them() -> None:
    half = len(PARAMS) // 2 + 1
    stream = begin(1) + encode_record(records.PARAMS, 1, PARAMS[:half]) + begin(2)
    stream += encode_record(records.PARAMS, 1, PARAMS[half:]) + encode_record(records.PARAMS, 1)
    (request,) = serve(stream)
    assert isinstance(request, Request)
    assert len(request.params) == 2


@pytest.mark.parametrize("status", [REQUEST_COMPLETE, CANT_MPX_CONN, OVERLOADED, UNKNOWN_ROLE])
def test_end_request_carries_each_protocol_status(status: int) -> None:
    client, server = ClientConnection(), ServerConnection()
    serve(client.begin(PARAMS, keep_conn=True, body=b""), server)
    client.receive_data(server.end_request(7, status))
    (event,) = events_of(client)
    assert isinstance(event, EndRequest)
    assert (event.app_status, event.protocol_status) == (7, status)


def test_end_request_without_a_request_is_the_callers_mistake() -> None:
    with pytest.raises(ProtocolError, match="no request"):
        ServerConnection().end_request()


def test_stderr_is_interleaved_and_its_stream_is_ended() -> None:
    client, server = ClientConnection(), ServerConnection()
    serve(client.begin(PARAMS, keep_conn=True, body=b""), server)
    sent = server.send_stdout(b"one") + server.send_stderr(b"oops") + server.send_stdout(b"two")
    sent += server.end_request()
    client.receive_data(sent)
    kinds = [type(event) for event in events_of(client)]
    assert kinds == [Stdout, Stderr, Stdout, EndRequest]
    assert (records.STDERR, 1, b"") in sent_records(sent)


# Aborts and ends


def test_abort_while_the_request_runs_is_an_event() -> None:
    client, server = ClientConnection(), ServerConnection()
    serve(client.begin(PARAMS, keep_conn=True, body=b"x"), server)
    (event,) = serve(client.abort(), server)
    assert isinstance(event, Abort)
    assert sent_records(server.end_request())[-1] == end(1, REQUEST_COMPLETE)


def test_abort_before_the_parameters_are_whole_is_answered_for_the_application() -> None:
    server = ServerConnection()
    abort = encode_record(records.ABORT_REQUEST, 1)
    assert serve(begin() + encode_record(records.PARAMS, 1, PARAMS[:5]) + abort, server) == []
    assert sent_records(server.bytes_to_send())[-1] == end(1, REQUEST_COMPLETE)
    assert server.idle


def test_stdin_after_an_abort_is_dropped() -> None:
    client, server = ClientConnection(), ServerConnection()
    serve(client.begin(PARAMS, keep_conn=True), server)
    events = serve(client.abort() + client.send_stdin(b"late"), server)
    assert [type(event) for event in events] == [Abort]


def test_records_after_the_end_of_a_request_are_ignored() -> None:
    client, server = ClientConnection(), ServerConnection()
    serve(client.begin(PARAMS, keep_conn=True), server)
    server.end_request()
    late = encode_record(records.STDIN, 1, b"late") + encode_record(records.STDIN, 1)
    events = serve(late + ClientConnection().begin(PARAMS, keep_conn=True, body=b""), server)
    assert [type(event) for event in events] == [Request, EndOfStdin]


def test_records_of_unknown_request_ids_are_ignored_by_both_ends() -> None:
    strange = encode_record(records.STDIN, 99, b"?") + encode_record(records.ABORT_REQUEST, 99)
    client = ClientConnection()
    assert len(serve(strange + client.begin(PARAMS, keep_conn=True, body=b""))) == 2
    client.receive_data(encode_record(records.STDOUT, 99, b"?"))
    assert list(events_of(client)) == []
    assert not client.reusable


def test_end_of_file_in_a_request_body_is_an_abort() -> None:
    client, server = ClientConnection(), ServerConnection()
    serve(client.begin(PARAMS, keep_conn=True), server)
    server.receive_eof()
    assert [type(event) for event in events_of(server)] == [Abort]


def test_end_of_file_before_end_request_is_an_error_for_the_client() -> None:
    client = ClientConnection()
    client.begin(PARAMS, keep_conn=True, body=b"")
    with pytest.raises(ProtocolError, match="END_REQUEST"):
        client.receive_eof()


def test_end_of_file_between_requests_is_not() -> None:
    client = ClientConnection()
    client.receive_eof()
    assert not client.reusable


def test_a_client_that_knows_no_get_values_answer_learns_that() -> None:
    client = ClientConnection()
    client.receive_data(encode_record(records.UNKNOWN_TYPE, 0, bytes((9,)) + bytes(7)))
    (event,) = events_of(client)
    assert isinstance(event, Values)
    assert event.values == {}


# Nonsense ends the connection at once

SHORT_BEGIN = encode_record(records.BEGIN_REQUEST, 1, b"\x00\x01")
STARTED = begin() + encode_record(records.PARAMS, 1)
BAD_FOR_SERVERS: dict[str, Callable[[], bytes]] = {
    "begin too short": lambda: SHORT_BEGIN,
    "begin too long": lambda: encode_record(records.BEGIN_REQUEST, 1, bytes(9)),
    "begin with id 0": lambda: begin(0),
    "begin twice": lambda: begin() + begin(),
    "http on the port": lambda: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "tls hello": lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "params cut": lambda: begin() + encode_record(4, 1, b"\x05\x05AB") + encode_record(4, 1),
    "pair too long": lambda: begin() + encode_record(4, 1, b"\xff\xff\xff\xff\x00"),
    "params too long": lambda: begin() + encode_record(4, 1, b"\x01\x7f" + bytes(128)) * 9000,
    "stdin before params": lambda: begin() + encode_record(records.STDIN, 1, b"x"),
    "params after params": lambda: STARTED + encode_record(records.PARAMS, 1, b"\x01\x01AB"),
    "stdin after its end": lambda: STARTED + encode_record(records.STDIN, 1) * 2,
    "abort with content": lambda: STARTED + encode_record(records.ABORT_REQUEST, 1, b"x"),
    "get values too long": lambda: encode_record(records.GET_VALUES, 0, b"\x01\x7f" * 4000),
    "get values cut": lambda: encode_record(records.GET_VALUES, 0, b"\x09\x00FCGI"),
}


@pytest.mark.parametrize("name", BAD_FOR_SERVERS)
def test_nonsense_ends_a_servers_connection(name: str) -> None:
    with pytest.raises(ProtocolError):
        serve(BAD_FOR_SERVERS[name]())


@pytest.mark.parametrize("name", BAD_FOR_SERVERS)
def test_a_connection_that_has_failed_is_never_used_again(name: str) -> None:
    """Half a record or an answer that it still holds would meet the next request."""
    server = ServerConnection(VALUES)
    server.receive_data(BAD_FOR_SERVERS[name]())
    with pytest.raises(ProtocolError):
        list(events_of(server))
    assert not server.idle
    server.receive_data(begin() + encode_record(records.PARAMS, 1))
    with pytest.raises(ProtocolError):
        server.next_event()


BAD_FOR_CLIENTS = {
    "short end": encode_record(records.END_REQUEST, 1, bytes(4)),
    "long end": encode_record(records.END_REQUEST, 1, bytes(40)),
    "http": b"HTTP/1.1 200 OK\r\n\r\n",
    "version 2": b"\x02" + encode_record(records.STDOUT, 1, b"x")[1:],
    "long values": encode_record(records.GET_VALUES_RESULT, 0, b"\x01\x7f" * 4000),
}


@pytest.mark.parametrize("name", BAD_FOR_CLIENTS)
def test_nonsense_ends_a_clients_connection(name: str) -> None:
    client = ClientConnection()
    client.begin(PARAMS, keep_conn=True, body=b"")
    client.receive_data(BAD_FOR_CLIENTS[name])
    with pytest.raises(ProtocolError):
        list(events_of(client))


@given(st.binary(max_size=400))
def test_garbage_never_raises_anything_else(garbage: bytes) -> None:
    for prefix in (b"", begin(), STARTED):
        server = ServerConnection(VALUES)
        server.receive_data(prefix + garbage)
        try:
            list(events_of(server))
        except ProtocolError:
            pass
    client = ClientConnection()
    client.begin(PARAMS, keep_conn=True, body=b"")
    client.receive_data(garbage)
    try:
        list(events_of(client))
    except ProtocolError:
        pass
