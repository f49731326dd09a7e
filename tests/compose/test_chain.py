"""`docker compose up` as a user runs it: build, serve, swap, scale, stop, and nothing left.

One project for the whole file; the tests build on each other in the order they stand in, as an
afternoon with the lab would, because each start of the containers costs seconds. Requests are
counted all along: one that fails is a failure of the test, whatever was done meanwhile.
"""

import json
import re
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab.chain.backends import BACKENDS
from lab.chain.containers import lifecycle
from lab.chain.containers.engine import Project
from lab.chain.rundir import LabError
from servers.app import contract
from tests.support.compose import Compose
from tests.support.load import Load
from tests.support.processes import wait_until
from tests.support.timing import server_timing

pytestmark = [pytest.mark.long, pytest.mark.compose, pytest.mark.timeout(900)]

HELLO = b"Hello, world!\n"
SWAPS = ("epoll-et", "io-uring", "thread-pool", "php-fpm", "asyncio", "flup-fork", "fcgi-worker")
MEGABYTES = 10**6


@pytest.fixture(scope="module")
def chain(project: Compose) -> Iterator[Compose]:
    project.compose("up", "--detach", "--build", "--wait")
    yield project
    project.compose("down", "--volumes", "--timeout", "2")


def whoami(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{address}/whoami", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def test_the_chain_keeps_the_contract(chain: Compose) -> None:
    assert [str(failure) for failure in contract.verify(f"http://{chain.address()}")] == []


def test_gateway_and_worker_tell_where_the_time_went(chain: Compose) -> None:
    with urllib.request.urlopen(f"http://{chain.address()}/hello", timeout=10) as answer:
        assert list(server_timing(answer)) == [
            "worker-wait", "worker-app", "gw-accept", "gw-queue", "gw-connect", "gw-first-byte",
        ]  # fmt: skip
    assert "traceparent" in whoami(chain.address())["headers"]


def test_images_are_small_and_labelled(chain: Compose) -> None:
    for name in ("servers", "locust"):
        (image,) = chain.inspect(f"chainlab/{name}:{chain.project}")
        assert image["Size"] <= 250 * MEGABYTES, name
        assert image["Config"]["Labels"]["org.opencontainers.image.licenses"] == "MIT"


def test_every_container_is_hardened(chain: Compose) -> None:
    for container in chain.inspect(*chain.ids()):
        host, name = container["HostConfig"], container["Name"]
        assert container["Config"]["User"] == "lab", name
        assert host["ReadonlyRootfs"], name
        assert host["Init"], name
        assert host["CapDrop"] == ["ALL"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}, name
        assert container["Config"]["Healthcheck"]["Test"], name
        for bindings in host["PortBindings"].values():
            assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}, name


def test_a_request_is_traced_from_beside_the_parts(chain: Compose, tmp_path: Path) -> None:
    before = chain.inspect(*chain.ids())
    path = tmp_path / "trace.json"
    chain.lab("trace", "--json", str(path))
    (trace,) = json.loads(path.read_text())["traces"]
    assert trace["missing"] == []
    messages = [event for event in trace["events"] if event["kind"] == "message"]
    names = [message["name"] for message in messages]
    expected = ["request", "BEGIN_REQUEST", "PARAMS", "STDIN", "STDOUT", "END_REQUEST"]
    places = [names.index(name) for name in expected]
    assert places == sorted(places), names
    assert names.index("response") > names.index("STDOUT")
    kinds = {(each["kind"], each["lanes"]["server"]) for each in trace["connections"]}
    assert kinds == {("tcp", "front"), ("unix", "backend")}
    assert all(abs(skew["seconds"]) < 1e-3 for skew in trace["skew"])
    assert len(trace["skew"]) == 3
    after = chain.inspect(*chain.ids())
    for key in ("Id", "RestartCount"):
        assert [each[key] for each in after] == [each[key] for each in before]
    left = ("ps", "--all", "--quiet", "--filter", f"name={chain.project}-trace")
    assert chain.good("docker", *left) == ""


def test_the_page_of_the_load_drives_the_chain(chain: Compose) -> None:
    page = f"http://{chain.address('locust', 8089)}"

    def ask(path: str, **form: str) -> Any:
        data = urllib.parse.urlencode(form).encode() if form else None
        with urllib.request.urlopen(page + path, data=data, timeout=10) as answer:
            return json.load(answer)

    assert ask("/swarm", user_count="4", spawn_rate="4")["host"] == "http://gateway:8080"
    wait_until(lambda: ask("/stats/requests")["total_rps"] > 0, "the page shows requests")
    wait_until(lambda: len(ask("/stats/requests")["stats"]) > 9, "every route has been asked")
    ask("/stop", now="yes")
    assert ask("/stats/requests")["errors"] == []


def test_swaps_under_load_fail_no_request(chain: Compose) -> None:
    address = chain.address()
    with Load(address, "/hello", HELLO, clients=2) as load:
        for name in SWAPS:
            chain.lab("swap", name)
            load.wait_for_more(20)
            if name != "php-fpm":
                assert whoami(address)["architecture"] == name
    assert load.failures == []


def test_a_swap_that_does_not_finish_keeps_both_back_ends(
    chain: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in chain.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(lifecycle, "SWITCH_PATIENCE", 0.0)
    before, address = chain.ids("fcgi_worker"), chain.address()
    with Load(address, "/hello", HELLO, clients=2) as load:
        with pytest.raises(LabError, match="did not switch to select"):
            lifecycle.swap(Project(), "select", lambda _step: None)
        wait_until(lambda: whoami(address)["architecture"] == "select", "the front has switched")
        load.wait_for_more(20)
        both = chain.ids("fcgi_worker")
        assert set(before) < set(both)
        chain.lab("swap", "fcgi-worker")
        load.wait_for_more(20)
    assert load.failures == []
    assert not set(both) & set(chain.ids("fcgi_worker"))
    chain.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "fcgi_worker=1")


def test_a_back_end_that_does_not_exist_changes_nothing(chain: Compose) -> None:
    before = chain.ids()
    refused = chain.run(sys.executable, "-m", "lab", "swap", "nonsense", "--docker")
    assert refused.returncode == 1
    assert "choose from: fcgi-worker, " in refused.stderr
    refused = chain.run("docker", "compose", "up", "--detach", BACKEND="nonsense")
    assert refused.returncode != 0
    assert 'service "nonsense" not found' in refused.stderr
    assert chain.ids() == before


def test_replicas_by_their_sockets(chain: Compose) -> None:
    scale_and_kill(chain)


def test_replicas_by_dns(chain: Compose) -> None:
    chain.compose("up", "--detach", "--wait", LINK="tcp")
    scale_and_kill(chain, LINK="tcp")


def scale_and_kill(chain: Compose, **variables: str) -> None:
    """Go from one worker to three, lose one, go back to one; under load, without a failure."""
    scaled = ("up", "--detach", "--wait", "--no-recreate", "--scale")
    with Load(chain.address(), "/wait?ms=5", b"waited 5 ms\n", clients=6) as load:
        chain.compose(*scaled, "fcgi_worker=3", **variables)
        wait_until(lambda: found_by_gateway(chain) == 3, "the gateway finds the replicas")
        load.wait_for_more(100)
        chain.good("docker", "kill", chain.ids("fcgi_worker")[-1])
        load.wait_for_more(300)
        chain.compose(*scaled, "fcgi_worker=1", **variables)
        assert len(chain.ids("fcgi_worker")) == 1
        load.wait_for_more(300)
    # What ran on the one that was killed is asked of another: GET may be sent twice.
    assert load.failures == []


def found_by_gateway(chain: Compose) -> int:
    """Return how many addresses the gateway has told that it found last."""
    told = re.findall(r"now at (.*)", chain.compose("logs", "--no-color", "gateway"))
    return len(told[-1].split(", ")) if told else 0


def test_nginx_and_php_fpm_are_the_real_ones(chain: Compose) -> None:
    chain.compose("up", "--detach", "--build", "--wait", FRONT="nginx", BACKEND="php-fpm")
    address = chain.address()
    with urllib.request.urlopen(f"http://{address}/whoami", timeout=10) as answer:
        assert answer.headers["Server"].startswith("nginx/")
        assert json.load(answer)["architecture"] == "php-fpm"
    with Load(address, "/hello", HELLO, clients=2, reopening=True) as load:
        for name in ("epoll-lt", "fcgi-worker"):
            chain.lab("swap", name)
            load.wait_for_more(20)
            assert whoami(address)["architecture"] == name
    assert load.failures == []


def test_every_architecture_starts_and_ends_well(chain: Compose) -> None:
    everything = ("--profile", "all")
    chain.compose(*everything, "up", "--detach", "--build", "--wait", *BACKENDS)
    ids = chain.compose(*everything, "ps", "--quiet", *BACKENDS).split()
    assert len(ids) == len(BACKENDS)
    for container in chain.inspect(*ids):
        seccomp = [text for text in container["HostConfig"]["SecurityOpt"] if "seccomp" in text]
        assert bool(seccomp) == ("io-uring" in container["Name"])
    chain.compose(*everything, "stop", *BACKENDS)
    for container in chain.inspect(*ids):
        assert container["State"]["ExitCode"] == 0, container["Name"]


def test_stopping_finishes_what_runs(chain: Compose) -> None:
    chain.compose("up", "--detach", "--wait")
    address = chain.address()

    def ask() -> bytes:
        with urllib.request.urlopen(f"http://{address}/wait?ms=8000", timeout=30) as answer:
            content: bytes = answer.read()
            return content

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        wait_until(lambda: running(address) > 0, "the request runs")
        chain.compose("stop")
        assert answer.result(30) == b"waited 8000 ms\n"
    for container in chain.inspect(*chain.compose("ps", "--all", "--quiet").split()):
        assert container["State"]["ExitCode"] == 0, container["Name"]
        assert not container["State"]["OOMKilled"], container["Name"]
    assert "killed" not in chain.compose("logs").lower()


def running(address: str) -> int:
    """Return how many requests the gateway runs just now."""
    with urllib.request.urlopen(f"http://{address}/-/gateway", timeout=10) as answer:
        return sum(int(process["active"]) for process in json.load(answer)["processes"])


def test_down_leaves_nothing(chain: Compose) -> None:
    chain.lab("down")
    chain.remove_images()
    assert chain.leftovers() == {}
