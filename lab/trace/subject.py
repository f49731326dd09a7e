"""What is traced: the chain that runs, a chain started for this and stopped after it, or a URL.

A chain of its own has its back end at a TCP port, where a capture sees what `lab up`, with its unix
socket, shows in the system calls alone; and it is started anew for each run, so that both see the
same: its first request, with the connection between front and back end being made. Our own parts
are told to say where the time goes (Server-Timing), as after `lab up`.
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
"""Of a back end with a fixed number: one that answers and one that sleeps."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom the client asks, and the lanes behind it."""

    host: str
    port: int
    lanes: list[Watched]
    place: Place = field(default_factory=Place)

    def title(self, lane_id: LaneId) -> str:
        """Return a lane's title; "" when there is no such lane."""
        return next((w.lane.title for w in self.lanes if w.lane.id == lane_id), "")


def of_state(state: State) -> Subject:
    """Return the chain that `lab up` started."""
    host, _, port = state.front.address.rpartition(":")
    lanes = [_lane("front", state.front), _lane("backend", state.backend)]
    return Subject(host, int(port), lanes)


@contextlib.contextmanager
def started(front: str, backend: str) -> Iterator[Subject]:
    """Start a chain for one run, or with front "none" a server alone; it is stopped at the end."""
    chosen = find_backend(backend)
    if front == "none" and chosen.protocol != "http":
        raise LabError(f"{backend} speaks FastCGI, not HTTP: give it a --front, gateway or nginx")
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
    """Return whatever listens at a URL's port, with its process where that may be known."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise LabError(f"{url}: give http://HOST:PORT/PATH; what is encrypted is not decoded")
    port = parts.port or 80
    try:
        host = str(socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise LabError(f"{url}: {parts.hostname} is not known ({error})") from None
    leader = _listener(port)
    title = psutil.Process(leader).name() if leader else parts.netloc
    watched = Watched(Lane("backend", title, port), Place(), leader)
    return Subject(host, port, [watched])


def _listener(port: int) -> int | None:
    """Return the process that listens at a port here, the eldest of them; None: not known."""
    pids = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    } - {None}
    elders = [pid for pid in pids if not {p.pid for p in psutil.Process(pid).parents()} & pids]
    return min(elders, default=None)


def _lane(lane_id: LaneId, part: Part) -> Watched:
    address = parse_address(part.address)
    lane = Lane(lane_id, part.name, 0 if address.path else address.port, address.path)
    return Watched(lane, Place(), part.pid if part.process else None)
