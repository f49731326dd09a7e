"""FastCGI on real sockets: what a web server may do on a connection, and what it gets."""

import contextlib
import hashlib
import socket
from pathlib import Path

import pytest

from chainlab.transport import Address
from chainlab.wire.fastcgi import (
    CANT_MPX_CONN,
    MAX_CONNS,
    MAX_REQS,
    MPXS_CONNS,
    REQUEST_COMPLETE,
    UNKNOWN_ROLE,
    EndRequest,
)
from chainlab.wire.fastcgi.records import (
    AUTHORIZER,
    END_REQUEST,
    FILTER,
    HEADER,
    HEADER_LENGTH,
    PARAMS,
    STDIN,
    STDOUT,
    UNKNOWN_TYPE,
    encode_record,
    encode_stream,
)
from tests.fcgi_worker.conftest import APPS, ROOT
from tests.fcgi_worker.records import PARAMETERS, begin, read_records, whole_request
from tests.support.fastcgi import Client
from tests.support.processes import Process, running_worker, wait_until

# Kept and not kept


def test_one_request(client: Client) -> None:
    answer = client.request("/hello", keep_conn=False)
    assert answer.status == 200
    assert answer.body == b"hello\n"
    assert answer.headers["content-length"] == "6"
    assert answer.stderr == b""
    assert answer.end is not None
    assert (answer.end.app_status, answer.end.protocol_status) == (0, REQUEST_COMPLETE)
    assert client.closed_by_peer


def test_many_requests_on_one_connection(client: Client) -> None:
    for number in range(50):
        body = b"%d" % number * number
        assert client.request("/echo", "POST", body).body == body
        assert client.protocol.reusable
    client.request("/hello", keep_conn=False)
    assert client.closed_by_peer


def test_over_tcp() -> None:
    with (
        running_worker(f"{APPS}:application", bind="127.0.0.1:0", cwd=ROOT) as (_, address),
        Client(address) as client,
    ):
        assert address.port
        for _ in range(3):
            assert client.request("/hello").body == b"hello\n"
        with Client(address) as other:
            assert other.request("/hello", keep_conn=False).body == b"hello\n"
            assert other.closed_by_peer


def test_requests_sent_ahead_are_answered_in_turn(client: Client) -> None:
    client.send(whole_request(1) + whole_request(2) + whole_request(3))
    for request_id in (1, 2, 3):
        records = read_records_unbuffered(client)
        assert [(kind, owner) for kind, owner, _ in records] == [
            (STDOUT, request_id),
            (STDOUT, request_id),
            (END_REQUEST, request_id),
        ]


def read_records_unbuffered(client: Client) -> list[tuple[int, int, bytes]]:
    """Read exactly one answer: nothing of the next one is taken from the socket."""
    records: list[tuple[int, int, bytes]] = []
    while not records or records[-1][0] != END_REQUEST:
        header = client.socket.recv(HEADER_LENGTH, socket.MSG_WAITALL)
        _, record_type, request_id, length, padding = HEADER.unpack(header)
        content = client.socket.recv(length + padding, socket.MSG_WAITALL) if length else b""
        records.append((record_type, request_id, content[:length]))
    return records


def test_a_request_byte_by_byte(client: Client) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    for byte in whole_request(1):
        client.send(bytes((byte,)))
    assert client.protocol.begin(b"", keep_conn=True)
    assert client.finish().body == b"hello\n"


def test_parameters_in_many_records(client: Client) -> None:
    value = "v" * 200_000
    answer = client.request("/show-environ", HTTP_X_LONG=value)
    assert value.encode() in answer.body


# Management and refusals


def test_values_are_true(alone: tuple[Process, Address]) -> None:
    with Client(alone[1]) as client:
        assert client.ask_values() == {MAX_CONNS: "7", MAX_REQS: "7", MPXS_CONNS: "0"}
        assert client.request("/hello").body == b"hello\n"  # on the same connection
        assert client.ask_values()[MAX_REQS] == "7"


def test_unknown_management_records_are_named(client: Client) -> None:
    client.send(encode_record(99, 0))
    assert read_records(client, UNKNOWN_TYPE) == [(UNKNOWN_TYPE, 0, bytes((99,)) + bytes(7))]
    assert client.request("/hello").body == b"hello\n"


@pytest.mark.parametrize("role", [AUTHORIZER, FILTER, 77])
def test_other_roles_are_refused(client: Client, role: int) -> None:
    client.send(begin(1, role))
    assert client.protocol.begin(b"", keep_conn=True)  # so that the answer is ours
    event = client.read_event()
    assert isinstance(event, EndRequest)
    assert event.protocol_status == UNKNOWN_ROLE
    assert client.request("/hello").body == b"hello\n"


def test_a_second_request_at_once_is_refused(client: Client) -> None:
    client.send(begin(1) + begin(2))
    (refusal,) = read_records(client, END_REQUEST)
    assert refusal[1] == 2
    assert refusal[2][4] == CANT_MPX_CONN
    client.send(whole_request(1)[len(begin(1)) :])
    assert [owner for _, owner, _ in read_records(client, END_REQUEST)] == [1, 1, 1]


def test_records_of_unknown_requests_are_ignored(client: Client) -> None:
    client.send(encode_stream(STDIN, 9, b"whose?") + encode_record(PARAMS, 9))
    assert client.request("/hello").body == b"hello\n"


# Bodies


def test_a_body_that_is_not_read_costs_nothing(alone: tuple[Process, Address]) -> None:
    """The answer comes at once; what still comes of the body is passed over."""
    with Client(alone[1]) as client:
        client.start("/hello", "POST", None, CONTENT_LENGTH="300000")
        assert client.finish().body == b"hello\n"
        client.send(client.protocol.send_stdin(b"x" * 300_000) + client.protocol.end_stdin())
        for _ in range(3):
            assert client.request("/hello").body == b"hello\n"


@pytest.mark.parametrize("bind", ["unix", "tcp"])
def test_an_unread_body_does_not_cost_the_answer(tmp_path: Path, bind: str) -> None:
    """Closing a socket with bytes unread resets it, and a reset can overtake the answer."""
    where = f"unix:{tmp_path}/s" if bind == "unix" else "127.0.0.1:0"
    options = ("--workers", "1")
    with running_worker(f"{APPS}:application", *options, bind=where, cwd=ROOT) as (_, address):
        for _ in range(10):
            with Client(address) as client:
                client.start("/big?pieces=4", "POST", b"x" * 20_000, keep_conn=False)
                client.send(client.protocol.send_stdin(b"y" * 40_000))
                answer = client.finish()
                assert len(answer.body) == 4 * 65536
                assert answer.end is not None


def test_a_body_streams_in(client: Client) -> None:
    """The application reads each piece before the next one is sent."""
    pieces = [b"piece %d\n" % number for number in range(20)]
    client.start("/lines", "POST", None, CONTENT_LENGTH=str(sum(map(len, pieces))))
    for piece in pieces:
        client.send(client.protocol.send_stdin(piece))
        client.read_until_stdout(piece)
    client.send(client.protocol.end_stdin())
    assert client.finish().end is not None


def test_a_body_of_any_shape(client: Client) -> None:
    for length in (0, 1, 7, 8, 65527, 65528, 65529, 200_000):
        body = bytes(range(256)) * (length // 256 + 1)
        found = client.request("/digest", "POST", body[:length]).body.split()
        expected = hashlib.sha256(body[:length]).hexdigest()
        assert found[:2] == [str(length).encode(), expected.encode()]


# The end of patience, the end of interest


def test_a_request_head_that_does_not_come_is_given_up(alone: tuple[Process, Address]) -> None:
    with Client(alone[1]) as half, Client(alone[1]) as other:
        half.send(whole_request(1)[:30])
        assert other.request("/hello").body == b"hello\n"  # it blocks nobody meanwhile
        assert half.closed_by_peer
    alone[0].wait_for_stderr("did not arrive in time")


def test_patience_ends_under_load_too(alone: tuple[Process, Address]) -> None:
    with Client(alone[1]) as half, Client(alone[1]) as other:
        half.send(whole_request(1)[:30])
        half.socket.setblocking(False)

        def is_given_up() -> bool:
            assert other.request("/hello").body == b"hello\n"
            try:
                return half.socket.recv(1) == b""
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True

        wait_until(is_given_up, "the half request is given up although others come")


def test_a_body_that_does_not_come_is_given_up(alone: tuple[Process, Address]) -> None:
    with Client(alone[1]) as half:
        half.start("/digest", "POST", None)
        half.send(half.protocol.send_stdin(b"some"))
        assert half.finish().end is None
    alone[0].wait_for_stderr("nothing read for 1 s")


def test_abort_while_the_body_is_awaited(client: Client) -> None:
    client.start("/digest", "POST", None)
    client.send(client.protocol.send_stdin(b"some") + client.protocol.abort())
    answer = client.finish()
    assert answer.end is not None
    assert client.request("/hello").body == b"hello\n"  # the connection goes on


def test_abort_of_a_running_answer(client: Client, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    client.start(f"/closing-big?pieces=100000&closed={closed}")
    client.read_until_stdout(b"0123456789abcdef")
    client.send(client.protocol.abort())
    answer = client.finish()
    assert answer.end is not None
    assert len(answer.stdout) < 100_000 * 65536
    wait_until(closed.exists, "the iterable is closed")
    assert client.request("/hello").body == b"hello\n"


def test_abort_before_the_parameters_end(client: Client) -> None:
    client.send(begin(1) + encode_stream(PARAMS, 1, PARAMETERS) + client.protocol.abort())
    assert [owner for _, owner, _ in read_records(client, END_REQUEST)][-1] == 1
    assert client.request("/hello").body == b"hello\n"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_web_server_that_goes_away(
    shared: tuple[Process, Address], tmp_path: Path, how: str
) -> None:
    closed = tmp_path / "closed"
    with Client(shared[1]) as client:
        client.start(f"/closing-big?pieces=100000&closed={closed}")
        client.read_until_stdout(b"0123456789abcdef")
        if how == "reset":
            client.socket.shutdown(socket.SHUT_RDWR)
    wait_until(closed.exists, "the iterable is closed")
    with Client(shared[1]) as client:
        assert client.request("/hello").body == b"hello\n"


def test_connections_beyond_the_limit_are_closed_after_their_answer(
    alone: tuple[Process, Address],
) -> None:
    process, address = alone
    clients = [Client(address) for _ in range(7)]
    for client in clients:
        assert client.request("/hello").body == b"hello\n"
    with Client(address) as eighth:
        assert eighth.request("/hello").body == b"hello\n"
        assert eighth.closed_by_peer
    process.wait_for_stderr("--connections")
    for client in clients:
        assert client.request("/hello").body == b"hello\n"
    clients.pop().close()

    def there_is_room() -> bool:
        with Client(address) as again, contextlib.suppress(ConnectionError):
            again.request("/hello")
            return again.request("/hello").body == b"hello\n"
        return False

    wait_until(there_is_room, "the place of a closed connection is free again")
    for client in clients:
        client.close()
