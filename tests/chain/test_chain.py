"""The whole chain, started by `lab` as a user would: fairness, swaps under load, a killed child."""

import http.client
import json
import os
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from lab.chain.backends import BACKENDS
from servers.common.spec import Family
from tests.support.lab import Lab
from tests.support.load import Load
from tests.support.processes import is_alive, wait_until

HELLO = b"Hello, world!\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as found:
        yield found


def usable_backends() -> list[str]:
    return [name for name, backend in BACKENDS.items() if not backend.unavailable()]


def skip_without(backend: str, front: str) -> None:
    if reason := BACKENDS[backend].unavailable():
        pytest.skip(reason)
    if front == "nginx" and not shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin"):
        pytest.skip("nginx is not installed: sudo apt install nginx-light")


ESSENTIAL = {"fcgi-worker", "php-fpm", "flup-fork", "epoll-lt"}
"""Back ends whose chains `make test` tries."""


@pytest.mark.parametrize("front", ["gateway", "nginx"])
@pytest.mark.parametrize(
    "backend",
    [pytest.param(name, marks=() if name in ESSENTIAL else pytest.mark.long) for name in BACKENDS],
)
def test_every_chain_keeps_the_contract(lab: Lab, front: str, backend: str) -> None:
    skip_without(backend, front)
    address = lab.up("--front", front, "--backend", backend)
    broken = BACKENDS[backend].broken_rules(f"http://{address}", quick=False)
    assert [str(failure) for failure in broken] == []


def who_answers(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/whoami", timeout=20) as answer:
        return str(json.load(answer)["architecture"])


@pytest.mark.long
@pytest.mark.timeout(300)  # ten swaps and more, each with the contract asked before
@pytest.mark.parametrize("family", get_args(Family))
def test_swaps_through_a_family_under_load_fail_no_request(lab: Lab, family: str) -> None:
    names = [name for name in usable_backends() if BACKENDS[name].spec.family == family]
    address = lab.up()
    with Load(address, "/wait?ms=5", b"waited 5 ms\n", clients=4) as load:
        for name in [*names, "fcgi-worker"]:
            lab.good("swap", name)
            assert who_answers(address) == name
            load.wait_for_more(20)
    assert load.failures == []


def test_the_slowest_of_32_clients_on_4_children_gets_its_share(lab: Lab) -> None:
    address = lab.up("--workers", "4")
    with Load(address, "/wait?ms=2", b"waited 2 ms\n", clients=32) as load:
        wait_until(lambda: load.done >= 6400, "6,400 requests are answered", seconds=90)
    assert load.failures == []
    assert min(load.counts) >= 0.8 * load.done / 32, sorted(load.counts)


def test_a_killed_child_costs_at_most_the_request_it_ran(lab: Lab) -> None:
    address = lab.up("--workers", "2")
    with Load(address, "/wait?ms=20", b"waited 20 ms\n", clients=4) as load:
        for _ in range(3):
            victim = lab.status["backend"]["processes"][1]
            os.kill(victim, signal.SIGKILL)
            load.wait_for_more(20)
            assert not is_alive(victim)
    assert len(load.failures) <= 3, load.failures
    assert all(failure.startswith("502") for failure in load.failures)


def test_one_request_carries_one_id_through_the_chain(lab: Lab) -> None:
    address = lab.up()
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/whoami", headers={"X-Request-Id": "from-the-client"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.headers["X-Request-Id"] == "from-the-client"
    assert b'"x-request-id":"from-the-client"' in body
