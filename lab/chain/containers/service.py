"""Single containers of a service in docker-compose.yml: start, find, remove.

`docker compose run` creates them from the service's definition, in addition to the project's own
containers: any number, each with its own variables, and with no published port unless requested.
This machine uses one like a native part: by the container's own address, without a proxy in
between, and by its process's pid on the host.
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
"""Seconds until a part must be healthy."""


def run_service(
    project: Project,
    service: str,
    *,
    variables: Mapping[str, str],
    publish: int | None = None,
) -> Container:
    """Start one container of `service`, return it once healthy; LabError if it does not get there.

    `publish` is a container port to publish on any free port of 127.0.0.1. Interrupts are deferred
    while compose runs, so that the container is always known and can be removed.
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
    """Kill the container and remove it with its volumes."""
    try:
        container.remove(force=True, v=True)
    except NotFound:
        return


def address_of(container: Container, port: int) -> Address:
    """Return the container's own address: reachable only from a host on its network, no proxy."""
    networks = container.attrs["NetworkSettings"]["Networks"]
    return Address(str(next(iter(networks.values()))["IPAddress"]), port)


def published_address(container: Container, port: int) -> Address:
    """Return the host address of a published container port."""
    found = container.ports[f"{port}/tcp"][0]
    return Address(str(found["HostIp"]), int(found["HostPort"]))


def is_direct(container: Container, port: int) -> bool:
    """Return whether this machine can connect to the container's own address."""
    return accepts(address_of(container, port))


def part_of(container: Container, name: str, address: Address) -> Part:
    """Return the container's process as a part; LabError if this machine does not see it.

    The container's first process is docker-init; the part is its only child at the start.
    """
    here = Path(f"/proc/{container.attrs['State']['Pid']}/cgroup")
    try:
        if str(container.id) not in here.read_text():
            raise ProcessLookupError
        process = psutil.Process(int(here.parent.name)).children()[0]
        return Part(name, process.pid, process.create_time(), str(address))
    except (OSError, IndexError, psutil.NoSuchProcess):
        raise LabError(
            f"the processes of {container.name} are not visible here: the engine runs in a "
            "virtual machine or on another machine; run this command where the engine runs"
        ) from None
