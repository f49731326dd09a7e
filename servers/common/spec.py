"""What a server architecture says of itself, and what it must be able to do."""

import importlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

Family = Literal[
    "blocking", "multiplexing", "signal-driven", "asynchronous", "coroutine", "third-party"
]

Lack = Literal["timeouts", "pipelining", "fragments", "descriptors"]
"""timeouts: a silent client is never given up. pipelining: requests sent ahead may be lost.
fragments: a request that comes in pieces may be refused. descriptors: out of them, it spins."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line may set for any server."""

    workers: int = 4
    """Requests served at one time, by a server that has a fixed number."""
    connections: int = 4096
    """Connections open at one time, where each is not a worker's; more wait in the backlog."""


class Server(Protocol):
    """A server on a bound, nonblocking listener; constructing one has no side effect."""

    def __init__(self, listener: socket.socket, options: Options) -> None: ...

    def run(self) -> None:
        """Serve until stopped; blocks."""

    def stop(self) -> None:
        """Ask `run` to finish what runs and return: from a signal handler, a thread, repeatedly."""

    def close(self) -> None:
        """Free what the server holds, the listener included."""


def _nothing_missing() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Spec:
    """One architecture, described."""

    name: str
    """The id, as the command line takes it."""
    title: str
    family: Family
    processes: str
    """The process model in a few words; N is `Options.workers`."""
    threads: str
    """The threads of each process that serves."""
    model: tuple[str, ...]
    """What it does, in at most five lines."""
    sleeps: tuple[str, str]
    """Where it sleeps while it waits for data, and while they are copied (claim M0)."""
    good: str
    bad: str
    neighbours: tuple[str, ...]
    """The architectures that differ from it in one thing."""
    source: str
    """The file to read, from the project's folder."""
    claims: tuple[str, ...]
    """Ids of docs/claims.md that it shows."""
    target: str
    """MODULE:CLASS."""
    concurrency: Literal["one", "workers", "connections"] = "connections"
    """What bounds the connections that are served at one time."""
    multiplexer: str = ""
    """The call that many connections are waited for with."""
    mode: str = ""
    """Level or edge, oneshot, ... where the multiplexer has modes."""
    protocol: Literal["fastcgi", "http"] = "http"
    keep_alive: bool = True
    """Whether a connection may carry more than one request."""
    limits: tuple[str, ...] = ()
    """What it cannot do, one sentence each."""
    lacks: tuple[Lack, ...] = ()
    """What the house asks of every architecture, and this one, somebody else's, has not."""
    exceptions: tuple[tuple[str, str], ...] = ()
    """Checks of the contract that it breaks, and why it cannot be helped."""
    probe: Callable[[], str | None] = field(default=_nothing_missing, repr=False)

    @property
    def waits_block(self) -> bool:
        """Whether a request that waits holds up others, because a worker waits with it."""
        return self.concurrency != "connections"

    def unavailable(self) -> str | None:
        """Return why it cannot run on this machine and what would help; None: it can."""
        return self.probe()

    def load(self) -> type[Server]:
        """Import its class."""
        module, _, name = self.target.partition(":")
        server: type[Server] = getattr(importlib.import_module(module), name)
        return server
