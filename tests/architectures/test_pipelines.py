"""An answer longer than one send budget, with more requests behind it on the same connection."""

import socket

import pytest

from servers.common.registry import SPECS, Spec
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


def test_it_tries_those_that_failed() -> None:
    names = {spec.name for spec in EVENT_DRIVEN}
    assert {"epoll-lt", "epoll-et", "busy-poll", "poll", "select"} <= names <= set(SPECS)
