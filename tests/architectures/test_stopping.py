"""Told to stop, a server takes no more clients, answers what runs, ends with 0, leaves nothing."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from servers.common.registry import Spec
from tests.support.architectures import connects, each, in_group, running, unix_address
from tests.support.processes import wait_until


@each
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
def test_what_runs_is_answered_and_nothing_is_left(
    spec: Spec, number: signal.Signals, tmp_path: Path
) -> None:
    with running(spec, unix_address(tmp_path), workers=2) as server:
        groups = set()
        for process in server.family:
            with suppress(ProcessLookupError):  # a child that served the greeting has ended
                groups.add(os.getpgid(process.pid))
        assert server.greets()
        with server.connect() as client, server.connect() as other:
            client.request("GET", "/stream?n=2&ms=400")
            client.read_until(b"line 1\n")  # it runs
            server.process.signal(number)
            assert b"line 2\n" in client.read_to_end()
            assert other.closed_by_peer  # it never asked for anything
        assert server.process.wait() == 0, server.process.stderr
        assert "Traceback" not in server.process.stderr
        for group in groups:
            wait_until(lambda group=group: in_group(group) == [], "all its processes are gone")  # type: ignore[misc]
        assert not connects(server.address)
        assert not Path(server.address.path).exists()


@each
def test_its_death_takes_its_children_along(spec: Spec) -> None:
    with running(spec, workers=2) as server:
        assert server.greets()
        groups = set()
        for process in server.family:
            with suppress(ProcessLookupError):  # a child that served the greeting has ended
                groups.add(os.getpgid(process.pid))
        server.process.signal(signal.SIGKILL)
        server.process.wait()
        for group in groups:
            wait_until(lambda group=group: in_group(group) == [], "all its processes are gone")  # type: ignore[misc]
