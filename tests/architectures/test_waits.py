"""What a request that waits holds up is what the Spec says: the lesson of each model, shown.

The order of two answers tells: a request that waits is asked first, a greeting second. Where
waiting blocks, the greeting comes after; where it does not, before.
"""

import contextlib
import select
from collections.abc import Iterator

import pytest

from servers.common.registry import Spec
from tests.support.architectures import HELLO, HTTP, Running, each, running
from tests.support.gateway import RawClient

PATIENCE = 15.0


def first_answered(clients: list[RawClient]) -> list[RawClient]:
    """Return whose answer goes on first; several, when we were slow to look."""
    ready, _, _ = select.select([client.socket for client in clients], [], [], PATIENCE)
    assert ready, "nobody was answered"
    return [client for client in clients if client.socket in ready]


@contextlib.contextmanager
def waiters(server: Running, count: int) -> Iterator[list[RawClient]]:
    """Give `count` clients whose requests are being waited with: half of each answer has come."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(count)]
        for client in clients:
            client.request("GET", "/stream?n=2&ms=700", Connection="close")
            client.read_until(b"line 1\n")
        yield clients


def places(spec: Spec, workers: int) -> int | None:
    """How many connections it serves at one time; None: many."""
    return {"one": 1, "workers": workers, "connections": None}[spec.concurrency]


@each
def test_a_wait_holds_up_whom_the_spec_says(spec: Spec) -> None:
    held = places(spec, workers=2) or 4
    with running(spec, workers=2) as server, waiters(server, held) as busy:
        with server.connect() as client:
            client.request("GET", "/hello", Connection="close")
            first = first_answered([client, *busy])
            expected = busy if spec.waits_block else [client]
            assert any(one in first for one in expected)
            assert client.response()[1] == HELLO
        for other in busy:
            assert b"line 2\n" in other.read_to_end()


@pytest.mark.parametrize(
    "spec", [s for s in HTTP if s.concurrency == "workers"], ids=lambda spec: spec.name
)
def test_a_free_worker_serves_beside_one_that_waits(spec: Spec) -> None:
    """One of eight greetings is answered before the request that waits is.

    prefork-reuseport spreads connections by a hash, so some may queue behind the busy worker.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running(spec, workers=2))
        busy = stack.enter_context(waiters(server, 1))
        clients = [stack.enter_context(server.connect()) for _ in range(8)]
        for client in clients:
            client.request("GET", "/hello", Connection="close")
        assert busy[0] not in first_answered([*clients, *busy])
        assert b"line 2\n" in busy[0].read_to_end()


@each
def test_many_wait_at_one_time_where_waiting_does_not_block(spec: Spec) -> None:
    if spec.waits_block:
        pytest.skip("it waits one by one: that is its model")
    with running(spec, workers=2) as server, waiters(server, 50) as busy:
        assert all(b"line 2\n" in client.read_to_end() for client in busy)
