"""Targets in containers, for `lab compare --docker`.

Every part is a container from docker-compose.yml, as in `lab up --docker`, in a separate compose
project: one network, one volume, no published port. The generator stays on the host and connects
to a container's own address over the bridge of that network. If that address cannot be reached (a
rootless engine has its bridge elsewhere), it connects to a published port, and the result says so.
The baseline is a container too, so that it shows the generator's ceiling on the same path.

Four settings differ from docker-compose.yml, because they would distort the measurement: health
checks and Server-Timing are off, containers have the descriptor limits of a process on this host,
and they run on the servers' cores if the generator has cores of its own.
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
from lab.compare.drive.targets import BASELINE, BASELINE_SERVER, STRAIGHT, Instance, Target
from lab.compare.drive.trial import Cores
from lab.compare.outcome import PACKAGES
from lab.compare.result import Manifest, Reached
from loadtest.interrupts import interrupts_later

_FRONT: Final = "gateway"
"""The service name of the front; FRONT decides which proxy it runs."""
_GENERATOR: Final = ("python", "chainlab", "wrk", "perf")
"""Programs that run on the host even with --docker."""
_NEVER: Final = "24h"
_ENTRYPOINT: Final = ("python", "-m", "lab.chain.containers.entrypoint")


class Containers:
    """Runs targets in containers; removes all of them when the block ends, in any case.

    LabError if there is no container engine.
    """

    seconds_to_start: float = 3.0  # two containers, with a readiness check each

    def __init__(self, front: str) -> None:
        self._project = Project(f"{default_name()}-compare-{uuid.uuid4().hex[:8]}")
        self._front = "gateway" if front == STRAIGHT else front
        self.reached: Reached = "container-address"
        self._images: dict[str, str] = {}
        self._image_facts: dict[str, Any] = {}  # as reported by the last new image
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
        """Build the images needed and find out how to reach containers."""
        able = [target for target in chosen if not target.described.unavailable]
        wanted = [BASELINE, *(target.name for target in able)]
        if any(target.described.front != STRAIGHT for target in able):
            wanted.append(_FRONT)
        services = {self._image_of[name]: name for name in wanted}  # one service per image
        self._compose("build", *services.values())
        with ExitStack() as stack:
            probe = self._run(stack, BASELINE, {"LINK": "tcp"})
            part_of(probe, BASELINE, address_of(probe, LINK_PORT))
            if not is_direct(probe, LINK_PORT):
                self.reached = "published-port"

    def baseline(self, _folder: Path) -> Target:
        """Return the baseline, in a container like the others."""

        def start(_run_dir: RunDir, _workers: int, stack: ExitStack) -> Instance:
            back = self._open(stack, BASELINE, LINK_PORT, {"LINK": "tcp"})
            return Instance(f"http://{back.address}", {"back": back})

        return Target(BASELINE_SERVER, start)

    def lacking(self, backend: Backend, front: str) -> str:
        """Return why docker-compose.yml cannot run it; a defect of an image shows at its start."""
        del front  # docker-compose.yml has both fronts
        if backend.name in self._image_of:
            return ""
        return f"docker-compose.yml has no service {backend.name}: run it without --docker"

    def start(
        self, backend: Backend, front: str, _run_dir: RunDir, workers: int, stack: ExitStack
    ) -> Instance:
        """Start one container per part; front and back end share a unix socket, as natively."""
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
        """Start the part that the generator connects to."""
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
        """Record a container's image, and the versions and limits that hold in it."""
        name = str(container.attrs["Config"]["Image"])
        if name in self._images:
            return
        image = self._project.client.images.get(container.attrs["Image"])
        digests = image.attrs.get("RepoDigests") or []
        self._images[name] = str(digests[0] if digests else image.id)
        facts = execute(
            container, "python", "-m", "lab.chain.containers.entrypoint", "tell", *PACKAGES
        )
        self._image_facts = json.loads(facts)
        self._versions |= self._image_facts["versions"]

    def _compose(self, *arguments: str) -> str:
        variables = {"FRONT": self._front, "BACKEND": "fcgi-worker"}
        return self._project.compose(*arguments, variables=variables, quiet=True)

    def describe(self, manifest: Manifest) -> Manifest:
        """Return the manifest with the images, and what holds inside the containers."""
        versions = {name: each for name, each in manifest.versions.items() if name in _GENERATOR}
        versions["docker"] = str(self._project.client.version()["Version"])
        congestion = str(self._image_facts["congestion"])
        return replace(
            manifest,
            congestion=manifest.congestion
            if congestion == manifest.congestion
            else f"{manifest.congestion}, {congestion} in containers",
            limits=manifest.limits | _within(self._image_facts["limits"]),
            versions=versions | _within(self._versions),
            reached=self.reached,
            images=dict(sorted(self._images.items())),
        )


def _within(found: dict[str, str]) -> dict[str, str]:
    return {f"{name} in containers": each for name, each in found.items()}


def _override(services: list[str]) -> str:
    """Return the second compose file, which removes what would distort the measurement."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    cores = Cores.here().servers
    service: dict[str, Any] = {
        "healthcheck": {"interval": _NEVER, "start_period": "0s"},
        "ulimits": {"nofile": {"soft": soft, "hard": hard}},
    }
    if len(cores) < (os.cpu_count() or 1):
        service["cpuset"] = ",".join(map(str, cores))
    # JSON is YAML; "!reset" is compose's tag that removes the first file's value.
    settings = json.dumps(service).removeprefix("{").removesuffix("}")
    lines = [f"  {name}: {{deploy: !reset {{}}, {settings}}}\n" for name in services]
    return "services:\n" + "".join(lines)
