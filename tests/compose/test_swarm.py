"""The same file on a swarm of one node: replicas, and a rolling update that fails no request."""

from collections.abc import Iterator

import pytest

from lab.chain.processes import free_port
from tests.support.compose import ROOT, Compose
from tests.support.load import Load
from tests.support.processes import wait_until

pytestmark = [pytest.mark.long, pytest.mark.compose, pytest.mark.timeout(900)]

PATIENCE = 120.0  # seconds for a task to run; what it waits for restarts it


@pytest.fixture
def swarm(project: Compose) -> Iterator[Compose]:
    """A stack on a swarm of this machine alone, which is no swarm afterwards."""
    if (
        project.good("docker", "info", "--format", "{{.Swarm.LocalNodeState}}").strip()
        != "inactive"
    ):
        pytest.skip("this engine is in a swarm already, and a test does not touch that")
    project.compose("build")
    project.good("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        yield project
        project.good("docker", "stack", "rm", project.project)
        wait_until(lambda: not containers(project), "the stack is gone", PATIENCE)
    finally:
        project.good("docker", "swarm", "leave", "--force")


def containers(project: Compose) -> list[str]:
    label = f"label=com.docker.stack.namespace={project.project}"
    return project.good("docker", "ps", "--all", "--quiet", "--filter", label).split()


def replicas(project: Compose) -> dict[str, str]:
    """Return RUNNING/WANTED of each service."""
    listing = project.good(
        *("docker", "stack", "services", "--format", "{{.Name}} {{.Replicas}}", project.project)
    )
    pairs = (line.split()[:2] for line in listing.splitlines())
    return {name.removeprefix(f"{project.project}_"): count for name, count in pairs}


def test_a_rolling_update_fails_no_request(swarm: Compose) -> None:
    swarm.variables.update(LAB_PORT=str(free_port()), LOCUST_PORT=str(free_port()), REPLICAS="2")
    swarm.good(str(ROOT / "docker" / "stack-deploy"), swarm.project)
    wanted = {"gateway": "1/1", "fcgi_worker": "2/2", "locust": "1/1", "locust-worker": "2/2"}
    wait_until(lambda: replicas(swarm) == wanted, "everything runs", PATIENCE)
    before = set(containers(swarm))
    address = f"127.0.0.1:{swarm.variables['LAB_PORT']}"
    with Load(address, "/hello", b"Hello, world!\n", clients=4) as load:
        load.wait_for_more(100)
        workers = f"{swarm.project}_fcgi_worker"
        swarm.good("docker", "service", "update", "--detach=false", "--force", "--quiet", workers)
        load.wait_for_more(100)
    assert load.failures == []
    assert len(set(containers(swarm)) - before) >= 2
