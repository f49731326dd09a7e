"""`lab trace --docker`: the chain that runs in containers, watched from side containers.

Beside each part stands, for the time of the trace, a container that shares the part's network and
process namespaces: there the agents run, and beside the front the client, too. So the parts keep
having no rights at all; the side containers have three: to capture packets, to trace processes, and
to look up, in /proc of another user's process, what its descriptors lead to.
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
"""Of a side container; the engine's other ones are dropped."""

SERVICE: Final = "trace"
"""In docker-compose.yml: the image of the side containers."""


@contextlib.contextmanager
def beside() -> Iterator[Subject]:
    """Give the chain that runs in containers, with side containers until the block ends."""
    project = Project()
    chain = Chain.of(project)
    if len(chain.backends) > 1:
        raise LabError(
            f"{len(chain.backends)} containers share the back end's work, and one is watched: "
            "docker compose up -d --scale fcgi_worker=1"
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
            f"no container beside {part.name}: {error}; if a trace that was killed has left one: "
            f"docker rm --force {name}"
        ) from None
    try:
        yield side
    finally:
        side.remove(force=True)


def _place(side: Container) -> Place:
    return Place(("docker", "exec", "-i", str(side.id)), "python3")


def _leader(side: Container) -> int:
    """Return the part's process: the one that init, which is the first, has started."""
    children = execute(side, "cat", "/proc/1/task/1/children").split()
    if not children:
        raise LabError(f"{side.name}: nothing runs in the container that it stands beside")
    return int(children[0])
