"""One container of a service of docker-compose.yml, for itself: started, found, removed.

`docker compose run` makes it, so it is what the file says of its service, but stands beside the
project's own: as many as are wanted, each with its own variables, and none publishes a port unless
asked to. It is used from this machine as a native part is: by the container's own address, without
a proxy in the way, and by the pid that its process has here.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil
from docker.errors import NotFound
from docker.models.containers import Container

from chainlab.transport import Address
from lab.chain.containers.engine import Project
from lab.chain.processes import accepts
from lab.chain.rundir import LabError, Part
from loadtest.interrupts import interrupts_later

PATIENCE: Final = 60.0
"""Seconds for a part to answer."""


def run_service(
    project: Project,
    service: str,
    *,
    variables: Mapping[str, str],
    publish: int | None = None,
) -> Container:
    """Start one container of `service`, and return it once it answers; LabError when it does not.

    `publish`: this port of it as any free one of 127.0.0.1. An interrupt comes afterwards, so that
    whoever is interrupted knows of everything that there is to be removed.
    """
    name = f"{project.name}-{service}-{uuid.uuid4().hex[:8]}"
    published = () if publish is None else ("--publish", f"127.0.0.1::{publish}")
    options = ("--detach", "--no-deps", "--name", name, *published)
    try:
        with interrupts_later():
            project.compose("run", *options, service, variables=variables, quiet=True, alone=True)
        container = project.client.containers.get(name)
        project.wait_until_healthy(container, PATIENCE)
    except BaseException:
        _remove_by_name(project, name)
        raise
    return container


def _remove_by_name(project: Project, name: str) -> None:
    try:
        remove(project.client.containers.get(name))
    except NotFound:
        return


def remove(container: Container) -> None:
    """End it at once, and leave nothing of it."""
    try:
        container.remove(force=True, v=True)
    except NotFound:
        return


def address_of(container: Container, port: int) -> Address:
    """Return where `port` of it is reached without a proxy, on a machine that is on its network."""
    networks = container.attrs["NetworkSettings"]["Networks"]
    return Address(str(next(iter(networks.values()))["IPAddress"]), port)


def published_address(container: Container, port: int) -> Address:
    """Return where a published `port` of it is reached."""
    found = container.ports[f"{port}/tcp"][0]
    return Address(str(found["HostIp"]), int(found["HostPort"]))


def is_direct(container: Container, port: int) -> bool:
    """Tell whether this machine reaches the container's own address."""
    return accepts(address_of(container, port))


def part_of(container: Container, name: str, address: Address) -> Part:
    """Return what runs in it as a part of this machine's; LabError when its processes are not here.

    The first process there is docker-init, which has but one child to begin with: the part.
    """
    here = Path(f"/proc/{container.attrs['State']['Pid']}/cgroup")
    try:
        if str(container.id) not in here.read_text():
            raise ProcessLookupError
        process = psutil.Process(int(here.parent.name)).children()[0]
        return Part(name, process.pid, process.create_time(), str(address))
    except (OSError, IndexError, psutil.NoSuchProcess):
        raise LabError(
            f"the processes of {container.name} are not to be seen here: the engine runs in a "
            "virtual machine or on another one; run this command where the engine runs"
        ) from None
