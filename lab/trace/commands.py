"""`lab trace`."""

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import click
from rich.console import Console, RenderableType
from rich.text import Text

from lab.chain.backends import find_backend
from lab.chain.fronts import FRONTS
from lab.chain.lifecycle import require_state
from lab.chain.rundir import LabError, RunDir
from lab.trace import pcapng, subject
from lab.trace.as_json import as_json
from lab.trace.compare import differences
from lab.trace.model import Message, Trace
from lab.trace.perfetto import perfetto
from lab.trace.segments import Captured
from lab.trace.take import Open, take
from lab.trace.terminal import lines, show, width_of

Taken: TypeAlias = tuple[Trace, Captured | None]

_file = click.Path(dir_okay=False, writable=True, path_type=Path)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The command-line options of one trace."""

    target: str
    front: str | None
    backend: str | None
    docker: bool
    count: int
    reuse: bool
    client: str


@click.command()
@click.argument("target", default="/hello", metavar="[PATH|URL]")
@click.option("--front", type=click.Choice([*FRONTS, "none"]),
              help="Start a chain with this front; none: the back end alone.")  # fmt: skip
@click.option("--backend", metavar="ID", help="Start a chain with this back end; see lab list.")
@click.option("--compare", nargs=2, metavar="A B",
              help="Trace two back ends one after the other; show what differs.")  # fmt: skip
@click.option("--docker", is_flag=True, help="Trace the chain that runs in containers.")
@click.option("--count", type=click.IntRange(1, 100), default=1, show_default=True,
              help="Number of requests, sent one after the other.")  # fmt: skip
@click.option(
    "--reuse",
    is_flag=True,
    help="Send all requests on one connection, while the server keeps it open.",
)
@click.option("--client", type=click.Choice(["own", "curl"]), default="own", show_default=True,
              help="Program that sends the requests.")  # fmt: skip
@click.option("--pcap", type=_file, metavar="FILE", help="Write the packets, for Wireshark.")
@click.option("--perfetto", type=_file, metavar="FILE",
              help="Write a trace for ui.perfetto.dev.")  # fmt: skip
@click.option("--html", type=_file, metavar="FILE", help="Write a zoomable page with every call.")
@click.option("--json", type=_file, metavar="FILE", help="Write everything as JSON.")
def trace(
    target: str, front: str | None, backend: str | None, compare: tuple[str, str] | None,
    docker: bool, count: int, reuse: bool, client: str, **paths: Path | None,
) -> None:  # fmt: skip
    """Send one request and draw what every part of the chain does, on one clock.

    \b
    a path: the chain that `lab up` started; if none is running, or with --front
            or --backend, a chain started for the trace
    a URL:  whatever listens there

    The request is sent twice: once with only a packet capture, for true timings, and once under
    strace, which shows each system call and slows everything down (the slowdown is shown).
    """
    chosen = Chosen(target, front, backend, docker, count, reuse, client)
    _refuse(chosen, compare, paths)
    console = Console()
    if compare:
        taken = [_take(console, each) for each in _compared(chosen, compare)]
    else:
        taken = [_take(console, chosen)]
    traces = [each for each, _ in taken]
    output: list[RenderableType] = []
    for each in traces:
        output += [*lines(each, width_of(console)), Text()]
    if compare:
        output += [differences(traces), Text()]
    show(console, [*output, *map(Text, _write(taken, paths))])


def _refuse(chosen: Chosen, compare: tuple[str, str] | None, paths: Mapping[str, Any]) -> None:
    """Reject option combinations that cannot work, before anything is started."""
    named = [name for name in ("front", "backend") if getattr(chosen, name)]
    if compare and chosen.backend:
        raise LabError("--compare already names both back ends: leave out --backend")
    if chosen.target.startswith("http://") and (named or compare or chosen.docker):
        raise LabError(
            f"{chosen.target}: with a URL, leave out --front, --backend, --compare and --docker"
        )
    if chosen.docker and (named or compare):
        raise LabError(
            "--docker traces the running chain: leave out --front, --backend and --compare; "
            "change that chain with lab up --docker or lab swap --docker"
        )
    if not chosen.target.startswith(("/", "http://")):
        raise LabError(f"{chosen.target}: give a path such as /hello, or http://HOST:PORT/PATH")
    for option, path in paths.items():
        if path is not None and not path.absolute().parent.is_dir():
            raise LabError(f"--{option} {path}: folder {path.parent} does not exist")
        if path is not None and compare and option in ("pcap", "perfetto"):
            raise LabError(f"--{option} holds one trace: trace {' and '.join(compare)} separately")


def _compared(chosen: Chosen, names: tuple[str, str]) -> list[Chosen]:
    """Return the options for both back ends; both get the same front."""
    straight = all(find_backend(name).protocol == "http" for name in names)
    front = chosen.front or ("none" if straight else "gateway")
    return [replace(chosen, front=front, backend=name) for name in names]


def _take(console: Console, chosen: Chosen) -> Taken:
    path = _path(chosen.target)
    with console.status(f"tracing {path}"), _opening(chosen) as opens:
        return take(
            opens, path, count=chosen.count, reuse=chosen.reuse, client=chosen.client
        )  # fmt: skip


def _path(target: str) -> str:
    """Return the request target: path and query."""
    if target.startswith("/"):
        return target
    parts = urlsplit(target)
    return urlunsplit(("", "", parts.path or "/", parts.query, ""))


@contextlib.contextmanager
def _opening(chosen: Chosen) -> Iterator[Open]:
    """Yield a function that opens the chain for one run."""
    if chosen.docker:
        from lab.trace import containers  # imported late: needs the Docker SDK

        with containers.beside() as chain:
            yield lambda: contextlib.nullcontext(chain)
    elif chosen.target.startswith("http://"):
        yield lambda: contextlib.nullcontext(subject.of_url(chosen.target))
    elif not (chosen.front or chosen.backend) and RunDir().load() is not None:
        state = require_state(RunDir())
        yield lambda: contextlib.nullcontext(subject.of_state(state))
    else:
        front, backend = chosen.front or "gateway", chosen.backend or "fcgi-worker"
        yield lambda: subject.started(front, backend)


def _write(taken: Sequence[Taken], paths: Mapping[str, Path | None]) -> list[str]:
    """Write the requested files; return one line of output per file."""
    written = []
    traces = [each for each, _ in taken]
    if path := paths["json"]:
        path.write_text(json.dumps(as_json(traces), indent=1) + "\n")
        written.append(f"{path}: the whole trace; format: lab/trace/SCHEMA.md")
    if path := paths["html"]:
        from lab.trace import page  # imported late: needs Jinja and vl-convert

        page.write(path, traces, shlex.join(["lab", *sys.argv[1:]]))
        written.append(f"{path}: open it in a browser")
    if path := paths["perfetto"]:
        path.write_text(json.dumps(perfetto(traces[0])) + "\n")
        written.append(
            f"{path}: open it at https://ui.perfetto.dev (the file stays in your browser)"
        )
    if path := paths["pcap"]:
        captured = taken[0][1]
        if captured is None:
            raise LabError(
                f'--pcap {path}: not written: no packets were captured (see "missing" above)'
            )
        ports = fastcgi_ports(traces[0])
        pcapng.write(path, captured, ports)
        written.append(f"{path}: {pcapng.command(path, ports)}")
    return written


def fastcgi_ports(trace: Trace) -> list[int]:
    """Return the TCP ports of the servers that spoke FastCGI."""
    servers = {
        event.connection.ends["server"] for event in trace.events
        if isinstance(event, Message) and event.protocol == "fastcgi"
        and event.connection.kind == "tcp"
    }  # fmt: skip
    return sorted(int(end.rpartition(":")[2]) for end in servers)
