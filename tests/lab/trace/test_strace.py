"""The agent that runs strace: when it is ready, strace sees every call of the process."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from chainlab.transport import Address
from lab.trace.agents import strace
from lab.trace.helpers import Place
from lab.trace.strace_lines import RawCall, parse
from tests.support.gateway import RawClient
from tests.support.processes import Process

pytestmark = pytest.mark.skipif(
    bool(refused := strace.refusal()) or not shutil.which("strace"),
    reason=refused[0] if refused else "strace is not installed: sudo apt install strace",
)

SERVER = """\
import os, socket, sys
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
listener = socket.create_server(("127.0.0.1", 0))
print("listening on 127.0.0.1:%d" % listener.getsockname()[1], file=sys.stderr, flush=True)
while True:
    listener.accept()[0].close()
"""
"""It runs when nobody else wants its core, so it is late to notice that strace interrupts it."""


@pytest.fixture
def late() -> Iterator[tuple[int, Address]]:
    """A server in accept(), on a core that somebody else burns."""
    core = str(max(os.sched_getaffinity(0)))
    with Process(["taskset", "--cpu-list", core, sys.executable, "-c", SERVER]) as server:
        address = server.wait_until_listening()
        burn = ["taskset", "--cpu-list", core, sys.executable, "-c", "while True: pass"]
        with subprocess.Popen(burn) as burner:
            try:
                yield server.pid, address
            finally:
                burner.kill()


@pytest.mark.burns
def test_the_call_that_waits_is_seen(late: tuple[int, Address]) -> None:
    """Ready before the server is back in accept(), the agent would miss the call."""
    pid, address = late
    for _ in range(5):
        with Place().agent("strace", pid) as agent:
            with RawClient(address) as client:
                assert client.closed_by_peer
            calls = [
                each for each in parse(agent.finish().splitlines()) if isinstance(each, RawCall)
            ]
        assert (calls[0].name, calls[0].result[:1]) == ("accept4", "4"), calls
