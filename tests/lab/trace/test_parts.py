"""What a trace is made of, piece by piece: states, messages, skew, waits, the kernel's filter."""

import itertools
import json
import shutil
import socket
import struct
import subprocess

import pytest

from chainlab.wire.fastcgi import ClientConnection, encode_pairs
from chainlab.wire.fastcgi.records import END_REQUEST, STDOUT, encode_record
from lab.trace.agents import ports_filter
from lab.trace.helpers import Place, Unable
from lab.trace.messages import decode
from lab.trace.model import Call, Connection, Packet, Side
from lab.trace.segments import read_capture
from lab.trace.skew import bound
from lab.trace.states import changes
from lab.trace.streams import gather
from lab.trace.waits import find_waits, spans

TCP = Connection(
    1, "tcp", {"client": "127.0.0.1:1", "server": "127.0.0.1:2"},
    {"client": "client", "server": "backend"},
)  # fmt: skip

_clock = itertools.count(1000, 1000)


def segment(sender: Side, flags: str, seq: int = 0, ack: int = 0, payload: bytes = b"") -> Packet:
    return Packet(next(_clock), TCP, sender, frozenset(flags.split()), seq, ack, payload)


HANDSHAKE = (
    ("client", "SYN", -1, 0), ("server", "SYN ACK", -1, 0), ("client", "ACK", 0, 0),
)  # fmt: skip


@pytest.mark.parametrize(
    ("closing", "client", "server"),
    [
        (
            [("client", "FIN ACK", 0, 0), ("server", "ACK", 0, 1),
             ("server", "FIN ACK", 0, 1), ("client", "ACK", 1, 1)],
            ["FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT"], ["CLOSE_WAIT", "LAST_ACK", "CLOSED"],
        ),
        (
            [("client", "FIN ACK", 0, 0), ("server", "FIN ACK", 0, 1), ("client", "ACK", 1, 1)],
            ["FIN_WAIT1", "TIME_WAIT"], ["CLOSE_WAIT", "LAST_ACK", "CLOSED"],
        ),
        (
            [("client", "FIN ACK", 0, 0), ("server", "FIN ACK", 0, 0),
             ("client", "ACK", 1, 1), ("server", "ACK", 1, 1)],
            ["FIN_WAIT1", "CLOSING", "TIME_WAIT"], ["CLOSE_WAIT", "LAST_ACK", "CLOSED"],
        ),
        ([("server", "RST ACK", 0, 0)], ["CLOSED"], ["CLOSED"]),
        ([("client", "FIN ACK", 0, 0)], ["FIN_WAIT1"], ["CLOSE_WAIT"]),
    ],
    ids=["one after the other", "three segments", "crossing", "reset", "half closed"],
)  # fmt: skip
def test_the_life_of_a_connection(
    closing: list[tuple[Side, str, int, int]], client: list[str], server: list[str]
) -> None:
    packets = [segment(*each) for each in (*HANDSHAKE, *closing)]  # type: ignore[arg-type]
    found, _ = changes(packets)
    seen = {side: [c.state for c in found if c.side == side] for side in ("client", "server")}
    assert seen["client"] == ["SYN_SENT", "ESTABLISHED", *client]
    assert seen["server"] == ["SYN_RECV", "ESTABLISHED", *server]


def test_the_records_of_a_request() -> None:
    pairs = encode_pairs([(b"REQUEST_METHOD", b"GET"), (b"PATH_INFO", b"/hello")])
    sent = ClientConnection().begin(pairs, keep_conn=True, body=b"")
    found = decode(sent, "client")
    assert [each.name for each in found] == ["BEGIN_REQUEST", "PARAMS", "PARAMS", "STDIN"]
    assert found[0].text == "keep"
    assert ("PATH_INFO", "/hello") in found[1].fields
    assert sum(each.length for each in found) == len(sent)
    assert [each.offset for each in found[1:]] == [16, found[2].offset, found[3].offset]


def test_the_records_of_an_answer_and_what_is_no_record() -> None:
    body = b"Status: 200 OK\r\n\r\nhi"
    sent = encode_record(STDOUT, 1, body) + encode_record(END_REQUEST, 1, bytes(8)) + b"\x07rest"
    assert [(each.name, each.text) for each in decode(sent, "server")] == [
        ("STDOUT", "20 B: Status: 200 OK"), ("END_REQUEST", "exit 0"), ("bytes", "5 B"),
    ]  # fmt: skip


def test_http_heads_and_bodies() -> None:
    get = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    post = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    assert [(each.name, each.text) for each in decode(get + post, "client")] == [
        ("request", "GET /a HTTP/1.1"), ("request", "POST /b HTTP/1.1"), ("request body", "2 B"),
    ]  # fmt: skip
    chunks = b"2\r\nhi\r\n0\r\n\r\n"
    answered = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    last = decode(answered + b"HTTP/1.1 204 No Content\r\n\r\n", "server")
    assert [each.text for each in last] == [
        "HTTP/1.1 200 OK", f"{len(chunks)} B, chunked", "HTTP/1.1 204 No Content",
    ]  # fmt: skip
    assert [each.name for each in decode(b"\x16\x03\x01 TLS", "client")] == ["bytes"]


@pytest.mark.parametrize(
    ("pairs", "skew"),
    [
        ([(10, 20, 30), (15, 20, 90)], 0),
        ([(10, 5, 30)], 5),
        ([(10, 50, 30), (0, 20, 90)], -20),
    ],
)
def test_the_skew_is_what_must_be_added(pairs: list[tuple[int, int, int]], skew: int) -> None:
    found = bound("one and another", pairs)
    assert found is not None
    assert found.skew == skew
    assert found.pairs == len(pairs)


def made(name: str, role: str, start: int, end: int | None, **more: object) -> Call:
    call = Call("backend", 7, name, "", "0", role, start, end, None)  # type: ignore[arg-type]
    call.connection, call.side = TCP, "server"
    for field, value in more.items():
        setattr(call, field, value)
    return call


def test_a_read_that_waits_has_two_phases() -> None:
    packet = Packet(600_000, TCP, "client", frozenset({"ACK"}), 0, 0, b"hello")
    late = made("read", "read", 100_000, 700_000, data=b"hel", result="3")
    soon = made("read", "read", 800_000, 810_000, data=b"lo", result="2")
    calls = [late, soon]
    find_waits(calls, [packet], gather([packet], calls))
    assert late.phases == (500_000, 100_000)
    assert soon.phases == (0, 10_000)
    doing = [(span.doing, span.start, span.end) for span in spans(calls, 0, 900_000, {7})]
    assert doing == [
        ("sleeps", 0, 100_000), ("sleeps", 100_000, 600_000), ("runs", 600_000, 900_000),
    ]  # fmt: skip


def test_a_read_never_ends_before_its_bytes_have_arrived() -> None:
    """strace counts from when it has written the entry down, which may take longer than a call."""
    packet = Packet(600_000, TCP, "client", frozenset({"ACK"}), 0, 0, b"hello")
    read = made("read", "read", 100_000, 590_000, data=b"hello", result="5", latest=650_000)
    find_waits([read], [packet], gather([packet], [read]))
    assert read.time == 600_000


def test_the_filter_is_what_tcpdump_makes() -> None:
    """Both are run by the kernel, on segments of two ports, in IPv4 and IPv6."""
    tcpdump = shutil.which("tcpdump")
    if tcpdump is None:
        pytest.skip("tcpdump is not installed: sudo apt install tcpdump")
    command = [tcpdump, "-ddd", "-y", "EN10MB", "tcp and (port 80 or port 9000)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    theirs = [tuple(map(int, line.split())) for line in done.stdout.splitlines()[1:]]
    ours = list(decoded(ports_filter.assemble([80, 9000])))
    for kind, protocol, source, destination in itertools.product(
        (b"\x08\x00", b"\x86\xdd", b"\x08\x06"), (6, 17), (80, 81), (9000, 443)
    ):
        packet = frame(kind, protocol, source, destination)
        assert bool(run_filter(ours, packet)) == bool(run_filter(theirs, packet)), packet


def decoded(program: bytes) -> list[tuple[int, ...]]:
    return list(struct.iter_unpack("HBBI", program))


def frame(kind: bytes, protocol: int, source: int, destination: int) -> bytes:
    ports = source.to_bytes(2, "big") + destination.to_bytes(2, "big") + bytes(16)
    if kind == b"\x08\x00":
        return bytes(12) + kind + b"\x45" + bytes(8) + bytes([protocol]) + bytes(10) + ports
    return bytes(12) + kind + bytes(6) + bytes([protocol]) + bytes(33) + ports


def run_filter(program: list[tuple[int, ...]], packet: bytes) -> int:
    """Run a packet filter as the kernel does, as far as these two programs go."""
    accumulator = index = at = 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        size = {0x28: 2, 0x48: 2, 0x30: 1, 0xB1: 1, 0x20: 4}.get(code, 0)
        if size:
            place = operand + (index if code == 0x48 else 0)
            value = int.from_bytes(packet[place : place + size], "big")
            if code == 0xB1:
                index = 4 * (value & 15)
            else:
                accumulator = value
        elif code == 0x15:
            at += yes if accumulator == operand else no
        elif code == 0x45:
            at += yes if accumulator & operand else no
        else:
            assert code == 0x06, hex(code)
            return operand


def test_a_capture_sees_each_segment_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        try:
            agent = Place().agent("capture", port)
        except Unable as error:
            pytest.skip(error.what)
        with agent:
            assert agent.greeting["before"] <= 0 <= agent.greeting["after"]
            with socket.create_connection(("127.0.0.1", port)) as client:
                accepted, _ = listener.accept()
                client.sendall(b"once")
                assert accepted.recv(100) == b"once"
                client.close()
                accepted.close()
            captured = read_capture(agent.finish().splitlines())
    payloads = [segment.payload for segment in captured.segments if segment.payload]
    assert payloads == [b"once"]
    flags = [sorted(segment.flags) for segment in captured.segments]
    assert flags[:3] == [["SYN"], ["ACK", "SYN"], ["ACK"]]
    assert sum("FIN" in each for each in flags) == 2
    assert captured.dropped == 0
    assert json.dumps(captured.sockets)
