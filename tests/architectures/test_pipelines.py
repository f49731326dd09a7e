"""An answer longer than one send budget, with more requests behind it on the same connection."""

import socket
import time
from collections.abc import Iterator

import pytest

from servers.common import connection as connections
from servers.common.connection import Connection
from servers.common.event_server import EventServer
from servers.common.registry import SPECS, Spec
from servers.common.spec import Options
from tests.support.architectures import HTTP, running

EVENT_DRIVEN = [
    spec
    for spec in HTTP
    if spec.concurrency == "connections" and spec.keep_alive and "pipelining" not in spec.lacks
]
LONG = 4 << 20
BIG = b"GET /bytes?n=%d HTTP/1.1\r\nHost: test\r\n\r\n" % LONG
WAIT = b"GET /wait?ms=50 HTTP/1.1\r\nHost: test\r\n\r\n"
HELLO = b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n"
END = b"Hello, world!\n"


@pytest.mark.parametrize("spec", EVENT_DRIVEN, ids=lambda spec: spec.name)
def test_a_long_answer_then_a_wait_then_more(spec: Spec) -> None:
    """A byte that comes during the long answer must not resume the wait behind it twice."""
    with running(spec) as server:
        for _ in range(5):
            with server.connect().socket as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                client.sendall(BIG + WAIT)
                received = client.recv(65536)
                client.sendall(HELLO)
                while not received.endswith(END):
                    data = client.recv(1 << 20)
                    assert data, "the connection ended before the last answer"
                    received += data
            assert received.count(b"HTTP/1.1 200 OK\r\n") == 3
            assert b"waited 50 ms\n" in received
            assert len(received) > LONG


class ByHand(EventServer):
    """A server whose rounds are the test's: it is told what is ready, and asks no kernel."""

    def _open(self) -> None:
        pass

    def _watch(self, connection: Connection, need: int) -> None:
        pass

    def _forget(self, connection: Connection) -> None:
        pass

    def _listen(self, *, wanted: bool) -> None:
        pass

    def _round(self, timeout: float) -> float:
        raise NotImplementedError

    def admit(self, sock: socket.socket) -> Connection:
        self._admit(sock, time.monotonic())
        return self._connections[sock.fileno()]

    def readable(self, connection: Connection) -> None:
        """Do what an event does."""
        connection.read(time.monotonic())
        self._settle(connection, time.monotonic())

    def tick(self) -> float | None:
        return self._tick(time.monotonic())

    def has_more_to_send(self, connection: Connection) -> bool:
        return connection in self._again


@pytest.fixture
def by_hand() -> Iterator[ByHand]:
    server = ByHand(socket.create_server(("127.0.0.1", 0)), Options())
    yield server
    server.close()


def test_an_event_in_the_middle_of_a_long_answer_starts_no_second_timer(
    by_hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race above, step by step: a running server meets it once in many tries."""
    monkeypatch.setattr(connections, "TURN", 1)
    client, server_side = socket.socketpair()
    client.settimeout(5)
    with client:
        connection = by_hand.admit(server_side)
        client.sendall(BIG.replace(b"%d" % LONG, b"100000") + WAIT)  # two sends
        by_hand.readable(connection)
        assert by_hand.has_more_to_send(connection)
        client.sendall(HELLO)
        by_hand.readable(connection)  # the rest of the answer, and the wait begins
        assert b"waited" not in client.recv(1 << 20, socket.MSG_PEEK)
        by_hand.tick()  # its second turn, which is no longer needed
        time.sleep(0.06)
        for _ in range(5):
            by_hand.tick()
            by_hand.readable(connection)
        received = b""
        while not received.endswith(END):
            data = client.recv(1 << 20)
            assert data, "the connection ended before the last answer"
            received += data
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 3


def test_it_tries_those_that_failed() -> None:
    names = {spec.name for spec in EVENT_DRIVEN}
    assert {"epoll-lt", "epoll-et", "busy-poll", "poll", "select"} <= names <= set(SPECS)
