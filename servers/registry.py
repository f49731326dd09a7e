"""The server architectures by id: what each is, and where its class is found, imported when run.

A `Spec` is data that tables and reports are made of, so asking what there is costs no import of
any server, and a machine that lacks one server's package can still run the others.
"""

import importlib
import importlib.util
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

Family = Literal[
    "blocking", "multiplexing", "signal-driven", "asynchronous", "coroutine", "outside"
]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line may set for any server."""

    workers: int = 4
    """Requests served at one time, by a server that has a fixed number."""


class Server(Protocol):
    """A server on a bound, nonblocking listener; constructing one has no side effect."""

    def __init__(self, listener: socket.socket, options: Options) -> None: ...

    def run(self) -> None:
        """Serve until stopped; blocks."""

    def stop(self) -> None:
        """Ask `run` to return within a second: from a signal handler or a thread, repeatedly."""

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
    protocol: Literal["fastcgi", "http"]
    processes: str
    """The process model in a few words; N is `Options.workers`."""
    threads: str
    """The threads of each process that serves."""
    concurrency: Literal["workers", "connections"]
    """What bounds the requests that run at one time."""
    keep_alive: bool
    """Whether a connection may carry more than one request."""
    limits: tuple[str, ...]
    """What it cannot do, one sentence each."""
    claims: tuple[str, ...]
    """Ids of notes/CLAIMS.md that it shows."""
    target: str
    """MODULE:CLASS."""
    probe: Callable[[], str | None] = field(default=_nothing_missing, repr=False)

    def unavailable(self) -> str | None:
        """Return why it cannot run on this machine and what would help; None: it can."""
        return self.probe()

    def load(self) -> type[Server]:
        """Import its class."""
        module, _, name = self.target.partition(":")
        server: type[Server] = getattr(importlib.import_module(module), name)
        return server


def _without_flup() -> str | None:
    if importlib.util.find_spec("flup") is None:
        return "the package flup is not installed: run pip install 'flup>=1.0.3'"
    return None


_SPECS: Final = (
    Spec(
        name="flup-fork",
        title="flup, prefork",
        family="outside",
        protocol="fastcgi",
        processes="a master and N children",
        threads="one",
        concurrency="workers",
        keep_alive=True,
        limits=(
            "a kept connection pins a child, idle or not",
            "one request at a time on a connection",
        ),
        claims=("S5", "S6"),
        target="servers.outside.flup_fork:FlupFork",
        probe=_without_flup,
    ),
    Spec(
        name="flup-thread",
        title="flup, threads",
        family="outside",
        protocol="fastcgi",
        processes="one",
        threads="N, and one that accepts",
        concurrency="workers",
        keep_alive=True,
        limits=(
            "a kept connection pins a thread, idle or not",
            "one request at a time on a connection",
            "Python code runs in one thread at a time (GIL)",
        ),
        claims=("S5",),
        target="servers.outside.flup_thread:FlupThread",
        probe=_without_flup,
    ),
    Spec(
        name="wsgiref",
        title="wsgiref, a thread for each connection",
        family="outside",
        protocol="http",
        processes="one",
        threads="one for each connection",
        concurrency="connections",
        keep_alive=False,
        limits=(
            "HTTP/1.0: each response ends its connection",
            "threads without bound",
            "Python code runs in one thread at a time (GIL)",
        ),
        claims=("S5",),
        target="servers.outside.wsgiref_http:WsgirefHttp",
    ),
)

SPECS: Final[dict[str, Spec]] = {spec.name: spec for spec in _SPECS}
"""Every architecture by its id."""
