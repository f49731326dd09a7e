"""Contestants in containers: what `lab compare --docker` compares.

Every part is a container of docker-compose.yml, as `lab up --docker` has it, in a compose project
of the comparison's own: one network, one volume, no port published. The generator stays on this
machine and connects to a container's own address, over the bridge of that network; where that is
not reached (an engine without root has it elsewhere) to a published port, and the result says so.
The null server is a container, too: it is the generator's ceiling on the same path.

Four things differ from docker-compose.yml, for they would be measured in place of a server: no
health check runs meanwhile; nobody tells where its time went; what a container may hold is what a
process of this machine may; and it runs on the servers' cores, where the generator has some of its
own.
"""

import json
import os
import resource
import uuid
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from docker.models.containers import Container

from chainlab.transport import Address
from lab.chain.backends import Backend
from lab.chain.containers import lifecycle as docker_chain
from lab.chain.containers.engine import Project, default_name, execute
from lab.chain.containers.entrypoint import HTTP_PORT, LINK_PORT, socket_path
from lab.chain.containers.service import (
    address_of,
    is_direct,
    part_of,
    published_address,
    remove,
    run_service,
)
from lab.chain.rundir import Part, RunDir
from lab.compare.drive.targets import NULL, NULL_SERVER, STRAIGHT, Instance, Target
from lab.compare.drive.trial import Cores
from lab.compare.outcome import PACKAGES
from lab.compare.result import Manifest, Reached
from loadtest.interrupts import interrupts_later

_FRONT: Final = "gateway"
"""The service in the front's place, whoever stands there."""
_GENERATOR: Final = ("python", "chainlab", "wrk", "perf")
"""What of this machine takes part all the same."""
_NEVER: Final = "24h"
_ENTRYPOINT: Final = ("python", "-m", "lab.chain.containers.entrypoint")


class Containers:
    """Where contestants run; when the block ends, nothing of it is left, whatever happened.

    LabError when there is no engine.
    """

    seconds_to_start: float = 3.0  # two containers, each asked whether it is well

    def __init__(self, front: str) -> None:
        self._project = Project(f"{default_name()}-compare-{uuid.uuid4().hex[:8]}")
        self._front = "gateway" if front == STRAIGHT else front
        self.reached: Reached = "container-address"
        self._images: dict[str, str] = {}
        self._told: dict[str, Any] = {}  # what the last new image says of itself
        self._versions: dict[str, str] = {}
        self._stack = ExitStack()
        config = self._compose("--profile", "all", "--profile", "compare", "config",
                               "--format", "json")  # fmt: skip
        services = json.loads(config)["services"]
        self._image_of = {name: str(service["image"]) for name, service in services.items()}

    def __enter__(self) -> Self:
        folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="chainlab-compare-")))
        self._project.override = folder / "compare.yml"
        self._project.override.write_text(_override(list(self._image_of)))
        self._stack.callback(self._remove_all)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _remove_all(self) -> None:
        with interrupts_later():
            docker_chain.down(self._project, quiet=True, grace=0)

    def prepare(self, chosen: list[Target]) -> None:
        """Build the images that are wanted and find out how containers are reached."""
        able = [one for one in chosen if not one.described.unavailable]
        wanted = [NULL, *(one.name for one in able)]
        if any(one.described.front != STRAIGHT for one in able):
            wanted.append(_FRONT)
        services = {self._image_of[name]: name for name in wanted}  # one for each image
        self._compose("build", *services.values())
        with ExitStack() as stack:
            probe = self._run(stack, NULL, {"LINK": "tcp"})
            part_of(probe, NULL, address_of(probe, LINK_PORT))
            if not is_direct(probe, LINK_PORT):
                self.reached = "published-port"

    def null_server(self, _folder: Path) -> Target:
        """Return the null server, on the same path as the others."""

        def start(_run_dir: RunDir, _workers: int, stack: ExitStack) -> Instance:
            back = self._open(stack, NULL, LINK_PORT, {"LINK": "tcp"})
            return Instance(f"http://{back.address}", {"back": back})

        return Target(NULL_SERVER, start)

    def lacking(self, backend: Backend, front: str) -> str:
        """Return what docker-compose.yml does not have; what an image lacks, its start tells."""
        del front  # both are there
        if backend.name in self._image_of:
            return ""
        return f"docker-compose.yml has no service {backend.name}: run it without --docker"

    def start(
        self, backend: Backend, front: str, _run_dir: RunDir, workers: int, stack: ExitStack
    ) -> Instance:
        """Start a container for each; they share a unix socket, as natively."""
        given = {"BACKEND": backend.name, "WORKERS": str(workers)}
        given["LINK"] = "tcp" if front == STRAIGHT else "unix"
        if front == STRAIGHT:
            back = self._open(stack, backend.name, LINK_PORT, given)
            return Instance(f"http://{back.address}", {"back": back})
        behind = self._run(stack, backend.name, given)
        path = socket_path(backend.name, str(behind.attrs["Config"]["Hostname"]))
        back = part_of(behind, backend.name, Address(path=path))
        before = self._open(stack, _FRONT, HTTP_PORT, given)
        return Instance(f"http://{before.address}", {"front": before, "back": back})

    def _open(self, stack: ExitStack, service: str, port: int, given: dict[str, str]) -> Part:
        """Start what the generator asks."""
        direct = self.reached == "container-address"
        container = self._run(stack, service, given, publish=None if direct else port)
        address = address_of if direct else published_address
        return part_of(container, service, address(container, port))

    def _run(
        self, stack: ExitStack, service: str, given: dict[str, str], publish: int | None = None
    ) -> Container:
        variables = {"FRONT": self._front, "TIMING": "off", **given}
        container = run_service(self._project, service, variables=variables, publish=publish)
        stack.callback(remove, container)
        self._note(container)
        return container

    def _note(self, container: Container) -> None:
        """Note what image a container is of, and what that says of itself."""
        name = str(container.attrs["Config"]["Image"])
        if name in self._images:
            return
        image = self._project.client.images.get(container.attrs["Image"])
        digests = image.attrs.get("RepoDigests") or []
        self._images[name] = str(digests[0] if digests else image.id)
        said = execute(
            container, "python", "-m", "lab.chain.containers.entrypoint", "tell", *PACKAGES
        )
        self._told = json.loads(said)
        self._versions |= self._told["versions"]

    def _compose(self, *arguments: str) -> str:
        variables = {"FRONT": self._front, "BACKEND": "fcgi-worker"}
        return self._project.compose(*arguments, variables=variables, quiet=True)

    def describe(self, manifest: Manifest) -> Manifest:
        """Return the manifest of what ran here: images, and what holds within containers."""
        versions = {name: each for name, each in manifest.versions.items() if name in _GENERATOR}
        versions["docker"] = str(self._project.client.version()["Version"])
        congestion = str(self._told["congestion"])
        return replace(
            manifest,
            congestion=manifest.congestion
            if congestion == manifest.congestion
            else f"{manifest.congestion}, {congestion} in containers",
            limits=manifest.limits | _within(self._told["limits"]),
            versions=versions | _within(self._versions),
            reached=self.reached,
            images=dict(sorted(self._images.items())),
        )


def _within(found: dict[str, str]) -> dict[str, str]:
    return {f"{name} in containers": each for name, each in found.items()}


def _override(services: list[str]) -> str:
    """Return the second compose file: what would otherwise be measured in place of a server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    cores = Cores.here().servers
    service: dict[str, Any] = {
        "healthcheck": {"interval": _NEVER, "start_period": "0s"},
        "ulimits": {"nofile": {"soft": soft, "hard": hard}},
    }
    if len(cores) < (os.cpu_count() or 1):
        service["cpuset"] = ",".join(map(str, cores))
    told = json.dumps(service).removeprefix("{").removesuffix("}")
    lines = [f"  {name}: {{deploy: !reset {{}}, {told}}}\n" for name in services]
    return "services:\n" + "".join(lines)
