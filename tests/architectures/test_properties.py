"""Whatever the pieces, the answers are the same; whatever the garbage, the next client is served.

    fragmentation, pipelining   valid requests, cut anywhere, sent ahead: the answers, in order
    long answers                one that takes several turns, with requests behind it: likewise
    garbage                     no request at all: 400 or another refusal, or a close
    mutations                   a valid request with some bytes changed: any well-formed answer

The answers are read by h11, which shares no line with what wrote them.
"""

import contextlib
import hashlib
import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from servers.app.messages import PIECE
from servers.common.connection import TURN
from servers.common.registry import Spec
from tests.support.architectures import HTTP, Running, running

# Each example starts with a new connection, on one server that runs for all of them.
AGAIN = settings(
    max_examples=30,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module", params=HTTP, ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> Spec:
    found: Spec = request.param
    return found


@pytest.fixture(scope="module")
def server(spec: Spec) -> Iterator[Running]:
    with running(spec) as found:
        yield found


@dataclass(frozen=True)
class Exchange:
    """A request, and what answers it."""

    request: bytes
    status: int
    body: bytes
    method: str = "GET"


def get(target: str, status: int, body: bytes, method: str = "GET") -> Exchange:
    return Exchange(f"{method} {target} HTTP/1.1\r\nHost: test\r\n".encode(), status, body, method)


def chunks(content: bytes, sizes: list[int]) -> bytes:
    """Frame `content` in chunks of these sizes, what is left in a last one."""
    out, at = b"", 0
    for size in [*sizes, len(content)]:
        piece = content[at : at + size]
        if piece:
            out += b"%x\r\n%s\r\n" % (len(piece), piece)
        at += size
    return out + b"0\r\n\r\n"


def post(content: bytes, sizes: list[int] | None) -> tuple[Exchange, bytes]:
    head = b"POST /echo HTTP/1.1\r\nHost: test\r\n"
    if sizes is None:
        head += b"Content-Length: %d\r\n" % len(content)
        return Exchange(head, 200, content, "POST"), content
    head += b"Transfer-Encoding: chunked\r\n"
    return Exchange(head, 200, content, "POST"), chunks(content, sizes)


def of_bytes(count: int) -> Exchange:
    return get(f"/bytes?n={count}", 200, (bytes(range(256)) * (count // 256 + 1))[:count])


def of_cpu(rounds: int) -> Exchange:
    digest = b""
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return get(f"/cpu?n={rounds}", 200, digest.hex().encode() + b"\n")


def of_stream(lines: int) -> Exchange:
    body = b"".join(b"line %d\n" % number for number in range(1, lines + 1))
    return get(f"/stream?n={lines}&ms=0", 200, body)


NOWHERE = b"no such path: the routes are in servers/app/CONTRACT.md\n"
bare = st.one_of(
    st.just(get("/hello", 200, b"Hello, world!\n")),
    st.just(get("/json", 200, b'{"message":"Hello, world!"}')),
    st.just(get("/hello", 200, b"", "HEAD")),
    st.just(get("/nowhere", 404, NOWHERE)),
    st.just(get("/hello", 405, b"this path takes GET, HEAD only\n", "DELETE")),
    st.integers(0, 3).map(lambda ms: get(f"/wait?ms={ms}", 200, b"waited %d ms\n" % ms)),
    st.integers(0, 100_000).map(of_bytes),
    st.integers(1, 9).map(of_cpu),
    st.integers(0, 20).map(of_stream),
).map(lambda exchange: (exchange, b""))
posts = st.builds(
    post, st.binary(max_size=5000), st.none() | st.lists(st.integers(1, 999), max_size=8)
)
longs = st.integers(TURN * PIECE + 1, 4 << 20).map(lambda count: (of_bytes(count), b""))
requests = st.lists(st.one_of(bare, posts), min_size=1, max_size=6)
cuts = st.lists(st.floats(0, 1), max_size=12)


def assemble(parts: list[tuple[Exchange, bytes]]) -> bytes:
    """Return the bytes of all requests, the last of which asks for the end."""
    out = b""
    for number, (exchange, content) in enumerate(parts, 1):
        last = b"Connection: close\r\n" if number == len(parts) else b""
        out += exchange.request + last + b"\r\n" + content
    return out


def cut(data: bytes, places: list[float]) -> list[bytes]:
    """Cut into pieces at these places, from 0, the beginning, to 1, the end."""
    at = sorted({0, *(int(place * len(data)) for place in places), len(data)})
    return [data[a:b] for a, b in itertools.pairwise(at)]


def read_answer(client: socket.socket, reader: h11.Connection) -> tuple[int, bytes]:
    """Return status and content of the next answer."""
    status, content = 0, bytearray()
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA:
            reader.receive_data(client.recv(65536))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            content += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(content)
        else:
            assert isinstance(event, h11.InformationalResponse), event


def reader_for(method: str, before: bytes = b"") -> h11.Connection:
    """Return h11 in the state of a client that has asked, with bytes read too far before."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "test")]))
    reader.send(h11.EndOfMessage())
    if before:
        reader.receive_data(before)
    return reader


def connect(server: Running) -> socket.socket:
    client = server.connect().socket
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


@AGAIN
@given(parts=requests, places=cuts)
def test_fragments_and_pipelines_are_answered_in_order(
    spec: Spec, server: Running, parts: list[tuple[Exchange, bytes]], places: list[float]
) -> None:
    if not spec.keep_alive or "pipelining" in spec.lacks:
        parts = parts[:1]
    if "fragments" in spec.lacks:
        places = []
    with connect(server) as client:
        for piece in cut(assemble(parts), places):
            client.sendall(piece)
        before = b""
        for exchange, _ in parts:
            reader = reader_for(exchange.method, before)
            assert read_answer(client, reader) == (exchange.status, exchange.body)
            before = reader.trailing_data[0]
        assert before == b""
        assert client.recv(1) == b""


@settings(AGAIN, max_examples=10)
@given(
    long=longs,
    ahead=st.lists(bare, max_size=2),
    later=st.lists(bare, min_size=1, max_size=3),
    place=st.floats(0, 1),
)
def test_what_is_behind_an_answer_longer_than_a_turn_is_answered(
    spec: Spec,
    server: Running,
    long: tuple[Exchange, bytes],
    ahead: list[tuple[Exchange, bytes]],
    later: list[tuple[Exchange, bytes]],
    place: float,
) -> None:
    """Some requests are sent with the one whose answer is long, others while that comes."""
    if not spec.keep_alive or "pipelining" in spec.lacks:
        pytest.skip("it answers one request, or none that is sent ahead")
    parts = [long, *ahead, *later]
    data, end = assemble(parts), assemble(later)
    with connect(server) as client:
        client.sendall(data[: -len(end)])
        before = b""
        while len(before) < place * len(long[0].body):
            before += client.recv(65536)
        client.sendall(end)
        for exchange, _ in parts:
            reader = reader_for(exchange.method, before)
            assert read_answer(client, reader) == (exchange.status, exchange.body)
            before = reader.trailing_data[0]
        assert before == b""
        assert client.recv(1) == b""


def read_to_end(client: socket.socket) -> bytes:
    """Return what comes until the server closes; TimeoutError when it does not."""
    gathered = b""
    with contextlib.suppress(ConnectionError):
        while data := client.recv(65536):
            gathered += data
    return gathered


def talk(server: Running, data: bytes) -> bytes:
    """Send everything and the end, and return what the server said."""
    with connect(server) as client:
        with contextlib.suppress(ConnectionError, OSError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        return read_to_end(client)


def is_simple_request(data: bytes) -> bool:
    """Whether the first line is HTTP/0.9's, a method and a target, whose answer has no status line.

    wsgiref takes such a request, and one that says so itself; it counts words as str.split does.
    """
    words = data.lstrip(b"\r\n").partition(b"\n")[0].decode("latin-1").split()
    return len(words) == 2 or words[2:] == ["HTTP/0.9"]


def is_no_request(data: bytes) -> bool:
    """Whether nobody could take the first line for one, not even of HTTP/0.9."""
    first = data.lstrip(b"\r\n").partition(b"\n")[0]
    return bool(first.strip()) and b"HTTP/" not in first and not first[:1].isalpha()


@AGAIN
@given(data=st.binary(min_size=1, max_size=300).filter(is_no_request))
def test_garbage_is_refused_and_the_next_client_served(
    spec: Spec, server: Running, data: bytes
) -> None:
    said = talk(server, data + b"\r\n\r\n")
    assert not said or said.startswith((b"HTTP/1.", b"<")), (spec.name, said[:100])
    if said.startswith(b"HTTP/1."):
        assert said[9:10] in (b"4", b"5"), said[:100]
    assert server.greets()


GREETING = (get("/hello", 200, b"Hello, world!\n"), b"")
THE_SPACE = len("GET /hello") / len(assemble([GREETING])) + 1e-6  # the one before HTTP/1.1


@AGAIN
@example(part=GREETING, changes=[(THE_SPACE, b"")])
@given(
    part=st.one_of(bare, posts),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3)), min_size=1, max_size=4),
)
def test_a_request_with_other_bytes_in_it_harms_nobody(
    server: Running, part: tuple[Exchange, bytes], changes: list[tuple[float, bytes]]
) -> None:
    data = assemble([part])
    for place, fresh in changes:
        at = int(place * len(data))
        data = data[:at] + fresh + data[at + 1 :]
    said = talk(server, data)
    assert not said or said.startswith((b"HTTP/1.", b"<")) or is_simple_request(data), said[:100]
    assert server.greets()


def test_the_oracle_knows_a_request_of_http_0_9() -> None:
    assert is_simple_request(b"GET /helloHTTP/1.1\r\nHost: test\r\n\r\n")
    assert is_simple_request(b"GET /hello HTTP/0.9\r\n\r\n")
    assert not is_simple_request(b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n")
    assert not is_simple_request(b"GARBAGE\r\n\r\nHTTP/1.1")
