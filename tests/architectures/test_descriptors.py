"""Descriptors: none is lost over a thousand connections, and running out of them is survived."""

import time
from contextlib import ExitStack

import psutil
import pytest

from servers.common.registry import SPECS, Spec
from tests.support.architectures import HELLO, Running, each, running
from tests.support.gateway import RawClient
from tests.support.processes import descriptors, wait_until

CONNECTIONS = 1_000
FILES = 64  # a lost descriptor shows soon
REQUEST = b"GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


def ask_once(server: Running) -> bytes:
    """Return the answer to one request on a connection of its own."""
    with server.connect() as client:
        client.send(REQUEST)
        return client.read_to_end()


@each
@pytest.mark.timeout(400)  # a fork costs milliseconds where the machine is busy
def test_a_thousand_connections_leave_no_descriptor_and_no_zombie(spec: Spec) -> None:
    with running(spec, files=FILES, workers=2) as server:
        for _ in range(100):
            assert ask_once(server).endswith(HELLO)
        before, size = server.wait_until_steady(), len(server.family)
        for _ in range(CONNECTIONS):
            assert ask_once(server).endswith(HELLO)
        # A fork server's last child may still be on its way out.
        wait_until(lambda: len(server.family) <= size, "no process more than before")
        wait_until(lambda: server.descriptors <= before, "no descriptor more than before")
        states = [process.status() for process in server.family]
        assert psutil.STATUS_ZOMBIE not in states


@each
def test_without_descriptors_it_neither_spins_nor_dies(spec: Spec) -> None:
    with running(spec, files=80, workers=2) as server:
        assert server.greets()
        crowd = [server.connect() for _ in range(300)]
        time.sleep(0.5)  # not for a condition: let it get as far as it gets
        server.wait_until_steady()  # on a busy machine `fork` forks for its clients still
        before = server.cpu_seconds
        time.sleep(2.0)
        used = server.cpu_seconds - before
        for client in crowd:
            client.close()
        wait_until(server.greets, "it serves again")
        if spec.name != "busy-poll" and "descriptors" not in spec.lacks:  # that is its model
            # One that spins uses what there is, even where it has to share.
            assert used < 0.3, f"it used {used:.2f} s of CPU in two seconds of waiting"


LIMITED = [name for name in ("select", "php-select", "php-coroutine") if name in SPECS]


@pytest.mark.parametrize("name", LIMITED)
def test_select_answers_503_above_its_limit(name: str) -> None:
    with descriptors(4096), running(SPECS[name], files=4096) as server, ExitStack() as stack:
        first = stack.enter_context(server.connect())
        first.request("GET", "/hello")
        assert first.response()[1] == HELLO
        crowd: list[RawClient] = [stack.enter_context(server.connect()) for _ in range(1100)]
        last = crowd[-1]
        last.request("GET", "/hello")
        head, _ = last.response()
        assert head.status == 503
        wait_until(lambda: server.process.stderr.count("descriptor") > 0, "the log says why")
        first.request("GET", "/hello")
        assert first.response()[1] == HELLO  # those that it can hold are served on
