"""`lab compare --docker`: a short comparison of real containers, and nothing left of it."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from lab.chain.backends import BACKENDS
from lab.chain.rundir import RunDir
from lab.compare.drive.containers import Containers
from lab.compare.drive.targets import of_backend
from lab.compare.result import Result, from_json
from tests.support.compose import ROOT, Compose
from tests.support.processes import wait_until

pytestmark = [pytest.mark.long, pytest.mark.compose, pytest.mark.timeout(900)]

SHORT = ("--docker", "--quick", "--rounds", "1", "--duration", "0.3", "--connections", "2")


def compare(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lab", "compare", *SHORT, *arguments]


@pytest.fixture(scope="module")
def result(project: Compose, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Of one that is asked straight, and one that needs a front."""
    file = tmp_path_factory.mktemp("compare") / "result.json"
    project.good(*compare("epoll-lt", "fcgi-worker", "--json", str(file)))
    return from_json(file.read_text())


@pytest.fixture(autouse=True)
def nothing_is_left(project: Compose) -> Iterator[None]:
    """The project of a comparison has a name of its own, which begins with its user's."""
    yield
    names = "name=" + project.project
    for what in (("ps", "--all"), ("network", "ls"), ("volume", "ls")):
        assert project.good("docker", *what, "--quiet", "--filter", names) == "", what


def test_every_part_is_measured_from_outside(result: Result) -> None:
    straight, fronted = result.cells
    assert (straight.architecture, straight.front) == ("epoll-lt", "none")
    assert (fronted.architecture, fronted.front) == ("fcgi-worker", "gateway")
    for cell, parts in ((straight, {"back"}), (fronted, {"front", "back"})):
        assert cell.verdict in ("valid", "noisy", "generator-bound"), cell.checks
        assert next(each for each in cell.checks if each.name == "answers").holds
        for each in cell.rounds:
            assert each.answered > 0
            assert set(each.cost) == {*parts, "generator"}
            for name in parts:
                held = each.cost[name]
                assert held.user_us + held.kernel_us > 0, name
                assert held.resident_bytes
                assert held.threads
    descriptors = straight.rounds[0].cost["back"].descriptors
    assert descriptors is None or descriptors >= 2 + 3, "read while the clients are connected"


def test_the_generator_has_its_ceiling_on_the_same_path(result: Result) -> None:
    assert result.ceilings[0].driver == "openloop"
    assert result.ceilings[0].rate.median > 0


def test_the_manifest_says_what_ran(project: Compose, result: Result) -> None:
    about = result.manifest
    assert about.reached in ("container-address", "published-port")
    names = ("gateway", "baseline", "servers")
    images = {f"chainlab/{name}:{project.project}" for name in names}
    assert set(about.images) == images
    for name, digest in about.images.items():
        assert project.inspect(name)[0]["Id"] == digest
    assert about.versions["python in containers"].startswith("3.")
    assert about.versions["docker"]
    assert "somaxconn in containers" in about.limits


def test_an_unknown_name(project: Compose) -> None:
    refused = project.run(*compare("nonsense"))
    assert refused.returncode == 1
    assert "no back end 'nonsense'; choose from: all, fcgi-worker, " in refused.stderr


def test_an_interrupt_leaves_nothing(project: Compose, result: Result) -> None:
    del result  # its images are built
    running = ("ps", "--quiet", "--filter", f"name={project.project}-compare-.*-thread")
    with subprocess.Popen(
        compare("thread", "epoll-et", "--duration", "600"),
        cwd=ROOT,
        env={**os.environ, **project.variables},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: project.good("docker", *running) != "", "a container runs", 120)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in said


@pytest.fixture
def containers(project: Compose, monkeypatch: pytest.MonkeyPatch) -> Iterator[Containers]:
    for name, value in project.variables.items():
        monkeypatch.setenv(name, value)
    with Containers("nginx") as found:
        yield found


def test_who_has_no_service_is_unavailable(containers: Containers) -> None:
    select = BACKENDS["select"]
    nameless = replace(select, spec=replace(select.spec, name="nonsense"))
    assert of_backend(select, "none", containers).described.unavailable == ""
    reason = of_backend(nameless, "none", containers).described.unavailable
    assert reason.startswith("docker-compose.yml has no service nonsense")


def test_by_a_published_port_where_addresses_are_not_reached(
    containers: Containers, tmp_path: Path
) -> None:
    target = of_backend(BACKENDS["select"], "nginx", containers)
    containers.prepare([target])
    containers.reached = "published-port"
    with ExitStack() as stack:
        running = target.start(RunDir(tmp_path), 4, stack)
        assert running.url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{running.url}/whoami", timeout=10) as answer:
            assert answer.headers["Server"].startswith("nginx/")
            assert json.load(answer)["architecture"] == "select"
        comm = {name: Path(f"/proc/{part.pid}/comm") for name, part in running.parts.items()}
        assert comm["front"].read_text() == "nginx\n"
        assert comm["back"].read_text() == "python\n"
