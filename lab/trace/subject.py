"""What is traced: the running chain, a chain started only for the trace, or a URL.

A chain started for the trace has its back end on a TCP port, so that the capture sees that hop too
(`lab up` uses a unix socket, which only system calls show). It is started anew for each run, so
that both runs see its first request, which opens the connection between front and back end. Our
own parts report their phases (Server-Timing), as they do after `lab up`.
"""

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from chainlab.transport import Address, parse_address
from lab.chain.backends import Backend, find_backend
from lab.chain.fronts import find_front
from lab.chain.processes import free_port, stop_part
from lab.chain.rundir import LabError, Part, RunDir, State
from lab.trace.helpers import Place
from lab.trace.model import Lane, LaneId
from lab.trace.run import Watched

WORKERS = 2
"""For back ends with a fixed number of workers: one answers, one sleeps."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The address that the client connects to, and the lanes behind it."""

    host: str
    port: int
    lanes: list[Watched]
    place: Place = field(default_factory=Place)

    def title(self, lane_id: LaneId) -> str:
        """Return a lane's title; "" if there is no such lane."""
        return next((w.lane.title for w in self.lanes if w.lane.id == lane_id), "")


def of_state(state: State) -> Subject:
    """Return the chain that `lab up` started."""
    host, _, port = state.front.address.rpartition(":")
    lanes = [_lane("front", state.front), _lane("backend", state.backend)]
    return Subject(host, int(port), lanes)


@contextlib.contextmanager
def started(front: str, backend: str) -> Iterator[Subject]:
    """Run a chain for one run; with front "none", the back end alone. Stop it at the end."""
    chosen = find_backend(backend)
    if front == "none" and chosen.protocol != "http":
        raise LabError(f"{backend} speaks FastCGI, not HTTP: use --front gateway or --front nginx")
    with tempfile.TemporaryDirectory(prefix="chainlab-trace-") as folder:
        run_dir = RunDir(Path(folder))
        address = Address("127.0.0.1", free_port())
        part = chosen.start(run_dir, WORKERS, 1, address=address, timed=True)
        try:
            if front == "none":
                yield _straight(part)
            else:
                with _before(run_dir, front, chosen, part) as face:
                    yield of_state(State(face, part, WORKERS, 1))
        finally:
            stop_part(part)


@contextlib.contextmanager
def _before(run_dir: RunDir, front: str, backend: Backend, part: Part) -> Iterator[Part]:
    listen = Address("127.0.0.1", free_port())
    face = find_front(front).start(run_dir, listen, backend, part.address, WORKERS, timed=True)
    try:
        yield face
    finally:
        stop_part(face)


def _straight(part: Part) -> Subject:
    host, _, port = part.address.rpartition(":")
    return Subject(host, int(port), [_lane("backend", part)])


def of_url(url: str) -> Subject:
    """Return the server at a URL, with its process if that can be found."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise LabError(f"{url}: give http://HOST:PORT/PATH; https cannot be decoded")
    port = parts.port or 80
    try:
        host = str(socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise LabError(f"{url}: cannot resolve {parts.hostname} ({error})") from None
    leader = _listener(port)
    title = psutil.Process(leader).name() if leader else parts.netloc
    watched = Watched(Lane("backend", title, port), Place(), leader)
    return Subject(host, port, [watched])


def _listener(port: int) -> int | None:
    """Return the process on this machine that listens on a port; None if unknown.

    If several do (a master and its workers), return the ancestor of the others.
    """
    pids = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    } - {None}
    masters = [pid for pid in pids if not {p.pid for p in psutil.Process(pid).parents()} & pids]
    return min(masters, default=None)


def _lane(lane_id: LaneId, part: Part) -> Watched:
    address = parse_address(part.address)
    lane = Lane(lane_id, part.name, 0 if address.path else address.port, address.path)
    return Watched(lane, Place(), part.pid if part.process else None)
