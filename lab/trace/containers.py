"""`lab trace --docker`: trace the chain in containers, from side containers.

During the trace each part has a side container, which shares the part's network and process
namespaces. The agents run there; the client runs in the front's. So the parts need no additional
rights. The side containers have three: to capture packets, to trace processes, and to read in
/proc what another user's descriptors refer to.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

from docker.errors import DockerException
from docker.models.containers import Container

from lab.chain.containers.engine import Project, execute
from lab.chain.containers.entrypoint import HTTP_PORT, LINK_PORT
from lab.chain.containers.lifecycle import Chain
from lab.chain.rundir import LabError
from lab.trace.helpers import Place
from lab.trace.model import Lane, LaneId
from lab.trace.run import Watched
from lab.trace.subject import Subject

RIGHTS: Final = ("NET_RAW", "SYS_PTRACE", "DAC_READ_SEARCH")
"""Capabilities of a side container; all others are dropped."""

SERVICE: Final = "trace"
"""The service in docker-compose.yml that builds the side containers' image."""


@contextlib.contextmanager
def beside() -> Iterator[Subject]:
    """Yield the chain in containers; its side containers run until the block ends."""
    project = Project()
    chain = Chain.of(project)
    if len(chain.backends) > 1:
        raise LabError(
            f"the back end runs in {len(chain.backends)} containers; lab trace watches only one: "
            "run docker compose up -d --scale fcgi_worker=1"
        )
    project.compose("build", SERVICE, quiet=True)
    image = project.compose("config", "--images", SERVICE, quiet=True).strip()
    front, backend = chain.variables["FRONT"], chain.variables["BACKEND"]
    by_tcp = chain.variables["LINK"] == "tcp"
    with contextlib.ExitStack() as stack:
        lanes = []
        for lane, part in (
            (Lane("front", front, HTTP_PORT), chain.front),
            (Lane("backend", backend, LINK_PORT if by_tcp else 0), chain.backends[0]),
        ):
            side = stack.enter_context(_side(project, image, lane.id, part))
            lanes.append(Watched(lane, _place(side), _leader(side)))
        yield Subject("127.0.0.1", HTTP_PORT, lanes, lanes[0].place)


@contextlib.contextmanager
def _side(project: Project, image: str, lane: LaneId, part: Container) -> Iterator[Container]:
    """Run a side container of `part` until the block ends."""
    name = f"{project.name}-{SERVICE}-{lane}"
    try:
        side = project.client.containers.run(
            image,
            name=name,
            detach=True,
            network_mode=f"container:{part.id}",
            pid_mode=f"container:{part.id}",
            cap_drop=["ALL"],
            cap_add=list(RIGHTS),
            security_opt=["no-new-privileges:true"],
            read_only=True,
            tmpfs={"/tmp": "size=256m"},
        )
    except DockerException as error:
        raise LabError(
            f"cannot start a side container for {part.name}: {error}; "
            f"if a killed trace left one behind: docker rm --force {name}"
        ) from None
    try:
        yield side
    finally:
        side.remove(force=True)


def _place(side: Container) -> Place:
    return Place(("docker", "exec", "-i", str(side.id)), "python3")


def _leader(side: Container) -> int:
    """Return the part's process: the child of init, which is pid 1."""
    children = execute(side, "cat", "/proc/1/task/1/children").split()
    if not children:
        raise LabError(f"{side.name}: no process runs in the container that it watches")
    return int(children[0])
