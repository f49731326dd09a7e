"""The chain in containers, for `--docker`: up, swap, verify, status, down.

The services `gateway` and `fcgi_worker` are places in the chain; FRONT and BACKEND choose the
programs. A swap starts the new back end as additional replicas of the same service and leaves the
old replicas alone. It checks the new ones, makes the running front switch to them (SIGHUP), and
stops the old ones when no request is left on them. If anything fails before the switch, the old
ones keep serving. If the switch does not finish, both keep running until the next swap or
`lab down --docker`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.request import urlopen

from docker.models.containers import Container

from lab.chain.backends import Backend, find_backend
from lab.chain.containers.engine import Project, execute, health_of, service_of
from lab.chain.containers.entrypoint import HTTP_PORT
from lab.chain.fronts import STATUS_PATH, SWITCH_PATIENCE, find_front
from lab.chain.rundir import LabError
from servers.app import contract

Say = Callable[[str], None]

PATIENCE: Final = 60.0  # seconds until a container must be healthy
GRACE: Final = 35  # seconds for a container to finish requests; docker-compose.yml has the same
_PART: Final = ("python", "-m", "lab.chain.containers.entrypoint")


@dataclass(frozen=True, slots=True)
class Chain:
    """The running containers of front and back end, and the variables they were started with."""

    front: Container
    backends: list[Container]
    variables: dict[str, str]

    @classmethod
    def of(cls, project: Project) -> Self:
        """Return the running chain of `project`; LabError if there is none."""
        fronts, backends = project.containers("gateway"), project.containers("fcgi_worker")
        if not fronts or not backends:
            raise LabError("no chain is running in containers; start one with `lab up --docker`")
        front, backend = fronts[0].attrs["Config"], backends[0].attrs["Config"]
        given = dict(pair.split("=", 1) for pair in front["Env"])
        variables = {
            "FRONT": front["Cmd"][1],
            "BACKEND": backend["Cmd"][1],
            "LINK": given["CHAINLAB_LINK"],
            "WORKERS": given["CHAINLAB_WORKERS"],
            "TIMING": given["CHAINLAB_TIMING"],
        }
        return cls(fronts[0], backends, variables)

    @property
    def url(self) -> str:
        """The URL of the front on this machine; LabError if its port is not published."""
        self.front.reload()
        published = self.front.ports.get(f"{HTTP_PORT}/tcp")
        if not published:
            raise LabError(
                f"{self.front.name} publishes no port; restart it with `lab up --docker`"
            )
        host = published[0]["HostIp"]
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{published[0]['HostPort']}"


def up(project: Project, front: str, backend: str, port: int, workers: int) -> Chain:
    """Build what changed, start the chain and locust, and wait until all containers are healthy."""
    find_front(front)
    find_backend(backend)
    variables = {
        "FRONT": front, "BACKEND": backend, "LAB_PORT": str(port), "WORKERS": str(workers),
    }  # fmt: skip
    project.compose("up", "--detach", "--build", "--wait", variables=variables)
    return Chain.of(project)


def swap(project: Project, name: str, say: Say) -> Chain:
    """Replace the back end of the running chain; a LabError before the switch changes nothing.

    If the switch itself fails, the front may use either back end, so both are kept.
    """
    chosen, chain = find_backend(name), Chain.of(project)
    say(f"starting {name}")
    fresh = _start_beside(project, chain, name)
    try:
        for container in fresh:
            project.wait_until_healthy(container, PATIENCE)
        say(f"checking {name} against the contract")
        execute(fresh[0], *_PART, "check", name)
        say(f"switching {chain.variables['FRONT']}, draining {chain.variables['BACKEND']}")
        execute(chain.front, *_PART, "switch", chain.variables["FRONT"], name)
    except BaseException:
        _remove(fresh)
        raise
    _switch(chain, chosen)
    say(f"stopping {chain.variables['BACKEND']}")
    _remove(chain.backends)
    return Chain.of(project)


def _start_beside(project: Project, chain: Chain, name: str) -> list[Container]:
    """Start as many new containers as there are old ones; leave the old ones alone."""
    old = {container.id for container in chain.backends}
    variables = {**chain.variables, "BACKEND": name}
    try:
        project.compose(
            *("up", "--detach", "--build", "--no-deps", "--no-recreate"),
            *("--scale", f"fcgi_worker={2 * len(old)}", "fcgi_worker"),
            variables=variables,
            quiet=True,
        )
    finally:
        found = project.containers("fcgi_worker", stopped=True)
        fresh = [container for container in found if container.id not in old]
    return fresh


def _switch(chain: Chain, backend: Backend) -> None:
    """Make the front reload its configuration; wait until no request is left on the old one."""
    nginx = chain.variables["FRONT"] == "nginx"
    before = _workers_of(chain.front) if nginx else _board(chain)["generation"]
    chain.front.kill(signal="HUP")  # docker-init forwards it to the front
    deadline = time.monotonic() + SWITCH_PATIENCE
    while time.monotonic() < deadline:
        if nginx:
            if not _workers_of(chain.front) & before:
                return
        else:
            board = _board(chain)
            if board["generation"] > before and not any(
                process["draining"] for process in board["processes"]
            ):
                return
        time.sleep(0.1)
    raise LabError(
        f"{chain.front.name} did not switch to {backend.name} within {SWITCH_PATIENCE:g} s"
    )


def _workers_of(front: Container) -> set[str]:
    """Return the host pids of nginx's workers."""
    table = front.top()
    pid = table["Titles"].index("PID")
    return {row[pid] for row in table["Processes"] if "nginx: worker" in row[-1]}


def _board(chain: Chain) -> dict[str, Any]:
    with urlopen(chain.url + STATUS_PATH, timeout=10) as answer:
        board: dict[str, Any] = json.load(answer)
    return board


def _remove(containers: list[Container]) -> None:
    for container in containers:
        container.stop(timeout=GRACE)
        container.remove(force=True)


def verify(project: Project, backend: str, front: str = "gateway") -> list[contract.Failure]:
    """Run all contract checks on `backend` through a front, in the containers of `project`."""
    variables = {"FRONT": front, "BACKEND": backend, "LAB_PORT": "0"}
    try:
        up = ("up", "--detach", "--build", "--wait", "gateway")
        project.compose(*up, variables=variables, quiet=True)
        excepted = dict(find_backend(backend).spec.exceptions)
        failures = contract.verify(Chain.of(project).url)
        return [failure for failure in failures if failure.name not in excepted]
    finally:
        down(project, quiet=True)


def down(project: Project, *, quiet: bool = False, grace: int = GRACE) -> None:
    """Remove the project's containers, network and volume.

    Running requests have `grace` seconds to finish.
    """
    profiles = ("--profile", "all", "--profile", "compare", "--profile", "tests")
    options = ("--volumes", "--remove-orphans", "--timeout", str(grace))
    project.compose(*profiles, "down", *options, quiet=quiet, alone=quiet)


def status(project: Project) -> list[dict[str, Any]]:
    """Return one row per container: its health and its current resource use."""
    return [_row(container) for container in project.containers()]


def _row(container: Container) -> dict[str, Any]:
    used = container.stats(stream=False)  # takes a second: the engine reads the counters twice
    cpu, before = used["cpu_stats"], used["precpu_stats"]
    busy = cpu["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = cpu["system_cpu_usage"] - before.get("system_cpu_usage", 0)
    return {
        "service": service_of(container),
        "container": container.name,
        "runs": " ".join(container.attrs["Config"]["Cmd"] or []),
        "image": container.attrs["Config"]["Image"],
        "health": health_of(container),
        "cores": round(busy / passed * cpu.get("online_cpus", 1), 2) if passed else 0.0,
        "memory_bytes": used["memory_stats"].get("usage", 0),
        "processes": used["pids_stats"].get("current", 0),
    }
