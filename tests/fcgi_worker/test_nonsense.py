"""Bytes that break the protocol end their connection, and reach no other."""

import contextlib

import pytest

from chainlab.transport import Address
from chainlab.wire.fastcgi import MAX_CONNS, MAX_REQS
from chainlab.wire.fastcgi.records import (
    BEGIN_REQUEST,
    END_REQUEST,
    GET_VALUES,
    GET_VALUES_RESULT,
    PARAMS,
    STDIN,
    encode_record,
    encode_stream,
)
from tests.fcgi_worker.records import begin, read_records, whole_request
from tests.support.fastcgi import Client, encode_params
from tests.support.processes import Process

BROKEN = {
    "HTTP on the port": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "another version": b"\x02" + bytes(15),
    "BEGIN_REQUEST too short": encode_record(BEGIN_REQUEST, 1, b"\0\1"),
    "BEGIN_REQUEST too long": encode_record(BEGIN_REQUEST, 1, bytes(100)),
    "GET_VALUES too long": encode_record(GET_VALUES, 0, bytes(60_000)),
    "GET_VALUES cut off": encode_record(GET_VALUES, 0, b"\x05\x00ab"),
    "STDIN before PARAMS end": begin(1) + encode_stream(STDIN, 1, b"x"),
    "a question, then nonsense": encode_record(GET_VALUES, 0, b"\x09\x00FCGI_MAX_"[:11]) + b"\x09",
    "a pair too long": begin(1) + encode_stream(PARAMS, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    "2 MiB of parameters": begin(1) + encode_stream(PARAMS, 1, b"\x01\x01nv" * (1 << 19)),
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN.keys())
def test_nonsense_ends_its_connection_and_no_other(
    alone: tuple[Process, Address], sent: bytes
) -> None:
    process, address = alone
    before = process.children
    for _ in range(3):
        with Client(address) as broken:
            try:
                broken.send(sent)
            except OSError:
                pass  # it was closed before all had been sent
            while broken.read_event() is not None:
                pass
    with Client(address) as good:
        values = good.ask_values()
        assert values[MAX_REQS] == values[MAX_CONNS]
        good.send(whole_request(5)[:20])  # not in one piece: every layer of the child takes part
        good.send(whole_request(5)[20:])
        records = read_records(good, END_REQUEST)
        assert [owner for _, owner, _ in records] == [5, 5, 5]
    assert process.children == before


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN.keys())
def test_an_upload_after_nonsense_on_another_connection(
    alone: tuple[Process, Address], sent: bytes
) -> None:
    with Client(alone[1]) as broken, Client(alone[1]) as good:
        assert good.request("/hello").body == b"hello\n"
        with contextlib.suppress(OSError):  # it was closed before all had been sent
            broken.send(sent)
        while broken.read_event() is not None:
            pass
        body = b"x" * 100_000
        good.start("/digest", "POST", None, CONTENT_LENGTH=str(len(body)))
        good.send(good.protocol.send_stdin(body) + good.protocol.end_stdin())
        assert good.finish().body.split()[0] == b"100000"


def test_an_answer_owed_to_a_broken_connection_reaches_no_other(
    alone: tuple[Process, Address],
) -> None:
    with Client(alone[1]) as broken:
        broken.send(encode_record(GET_VALUES, 0, encode_params({MAX_REQS: ""})) + b"\x07" * 8)
        while broken.read_event() is not None:
            pass
    with Client(alone[1]) as good:
        good.send(whole_request(1))
        assert GET_VALUES_RESULT not in [kind for kind, _, _ in read_records(good, END_REQUEST)]


def test_nonsense_inside_a_body_ends_the_connection(alone: tuple[Process, Address]) -> None:
    with Client(alone[1]) as client:
        client.start("/digest", "POST", None)
        client.send(b"nonsense" * 4)
        client.finish()
        assert client.closed_by_peer
    with Client(alone[1]) as client:
        assert client.request("/hello").body == b"hello\n"
    alone[0].wait_for_stderr("FastCGI version")


@pytest.mark.parametrize("first", [b"", b"x" * 10], ids=["at once", "while it is read"])
def test_nonsense_inside_a_body_is_not_the_applications_fault(
    alone: tuple[Process, Address], first: bytes
) -> None:
    process, address = alone
    before = len(process.stderr)
    with Client(address) as client:
        client.start("/digest", "POST", None, CONTENT_LENGTH="100")
        client.send(client.protocol.send_stdin(first) if first else b"")
        client.send(b"nonsense" * 4)
        assert client.finish().end is None
    process.wait_for_stderr("FastCGI protocol error, connection closed: FastCGI version")
    assert "the application failed" not in process.stderr[before:]
