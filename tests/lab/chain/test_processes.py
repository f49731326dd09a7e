"""What a part costs, its children that have ended included, and ports that stay free."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from chainlab.transport import Address
from lab.chain.backends import BACKENDS
from lab.chain.processes import cpu_times, family_of, free_port, stop_part
from lab.chain.rundir import RunDir
from tests.support.processes import wait_until


def test_the_cpu_of_children_that_have_ended_counts(tmp_path: Path) -> None:
    listen = Address("127.0.0.1", free_port())
    part = BACKENDS["fork"].start(RunDir(tmp_path), 1, 1, address=listen)
    try:
        before = sum(cpu_times(part))
        with urllib.request.urlopen(f"http://{listen}/cpu?n=1000000", timeout=60) as answer:
            assert answer.status == 200
        wait_until(lambda: len(family_of(part)) == 1, "the child has been reaped")
        assert sum(cpu_times(part)) - before > 0.1  # a million rounds of SHA-256
    finally:
        stop_part(part)


def test_a_free_port_is_none_that_a_client_may_get() -> None:
    span = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    port = free_port()
    assert port >= 1024
    assert port < int(span[0]) or int(span[0]) <= 2048


def test_two_labs_that_choose_at_once_get_different_ports() -> None:
    program = (
        "import random; random.seed(0); from lab.chain.processes import free_port;"
        "print([free_port() for _ in range(400)], flush=True); input()"
    )
    labs = [
        subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    try:
        lines = [each.stdout.readline() for each in labs if each.stdout]
    finally:
        for each in labs:
            each.communicate(b"\n", timeout=20)
    ports = [port for line in lines for port in json.loads(line)]
    assert len(ports) == 1600
    assert len(set(ports)) == 1600
