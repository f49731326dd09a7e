"""How a server architecture describes itself, and the interface it must implement."""

import importlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

Family = Literal[
    "blocking", "multiplexing", "signal-driven", "asynchronous", "coroutine", "third-party"
]

Lack = Literal["timeouts", "pipelining", "fragments", "descriptors"]
"""timeouts: silent clients are never dropped. pipelining: pipelined requests may be lost.
fragments: a request that arrives in pieces may be refused. descriptors: busy-loops on EMFILE."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line may set for any server."""

    workers: int = 4
    """Concurrent requests, for servers with a fixed number of workers."""
    connections: int = 4096
    """Open connections, where a connection needs no worker; the rest wait in the backlog."""


class Server(Protocol):
    """A server on a bound, nonblocking listener; constructing one has no side effect."""

    def __init__(self, listener: socket.socket, options: Options) -> None: ...

    def run(self) -> None:
        """Serve until stopped; blocks."""

    def stop(self) -> None:
        """Ask `run` to finish running requests and return; safe in signal handlers and threads."""

    def close(self) -> None:
        """Release all resources, including the listener."""


def _nothing_missing() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Spec:
    """Description of one architecture."""

    name: str
    """The id used on the command line."""
    title: str
    family: Family
    processes: str
    """The process model in a few words; N is `Options.workers`."""
    threads: str
    """The threads of each serving process."""
    model: tuple[str, ...]
    """How the architecture works, in at most five lines."""
    sleeps: tuple[str, str]
    """Where it sleeps while waiting for data, and while the data is copied (claim M0)."""
    good: str
    bad: str
    neighbours: tuple[str, ...]
    """Architectures that differ in a single aspect."""
    source: str
    """The source file, relative to the project directory."""
    claims: tuple[str, ...]
    """Ids in docs/claims.md that this architecture demonstrates."""
    target: str
    """MODULE:CLASS."""
    concurrency: Literal["one", "workers", "connections"] = "connections"
    """What limits the number of connections served concurrently."""
    multiplexer: str = ""
    """The system call that waits for many connections."""
    mode: str = ""
    """The multiplexer's mode: level, edge, oneshot, ...; without one: "" or "busy polling"."""
    protocol: Literal["fastcgi", "http"] = "http"
    keep_alive: bool = True
    """Whether a connection may carry more than one request."""
    limits: tuple[str, ...] = ()
    """Limitations, one sentence each."""
    lacks: tuple[Lack, ...] = ()
    """Required features that this third-party server lacks."""
    exceptions: tuple[tuple[str, str], ...] = ()
    """Contract checks that the server fails, and why that cannot be fixed."""
    probe: Callable[[], str | None] = field(default=_nothing_missing, repr=False)

    @property
    def waits_block(self) -> bool:
        """Whether a waiting request occupies a worker, and so delays other requests."""
        return self.concurrency != "connections"

    def unavailable(self) -> str | None:
        """Return why the server cannot run here and how to fix that, or None if it can."""
        return self.probe()

    def load(self) -> type[Server]:
        """Import the server class."""
        module, _, name = self.target.partition(":")
        server: type[Server] = getattr(importlib.import_module(module), name)
        return server
