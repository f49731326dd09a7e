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
    """What the command line asks for."""

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
              help="Start a chain with this front; none: straight at the back end.")  # fmt: skip
@click.option("--backend", metavar="ID", help="Start a chain with this back end; lab list.")
@click.option("--compare", nargs=2, metavar="A B",
              help="Two back ends, one after the other, and what differs.")  # fmt: skip
@click.option("--docker", is_flag=True, help="The chain that runs in containers.")
@click.option("--count", type=click.IntRange(1, 100), default=1, show_default=True,
              help="Requests, one after the other.")  # fmt: skip
@click.option("--reuse", is_flag=True, help="All of them on one connection, as long as it is kept.")
@click.option("--client", type=click.Choice(["own", "curl"]), default="own", show_default=True,
              help="Who asks.")  # fmt: skip
@click.option("--pcap", type=_file, metavar="FILE", help="The packets, for Wireshark.")
@click.option("--perfetto", type=_file, metavar="FILE",
              help="For ui.perfetto.dev.")  # fmt: skip
@click.option("--html", type=_file, metavar="FILE", help="A page with every call, to zoom into.")
@click.option("--json", type=_file, metavar="FILE", help="Everything, for programs.")
def trace(
    target: str, front: str | None, backend: str | None, compare: tuple[str, str] | None,
    docker: bool, count: int, reuse: bool, client: str, **paths: Path | None,
) -> None:  # fmt: skip
    """Send one request and draw what every part of the chain does, on one clock.

    \b
    the chain that `lab up` started, when there is one and no part is named;
    else a chain of its own, for the trace; a URL: whatever listens there

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
    told: list[RenderableType] = []
    for each in traces:
        told += [*lines(each, width_of(console)), Text()]
    if compare:
        told += [differences(traces), Text()]
    show(console, [*told, *map(Text, _write(taken, paths))])


def _refuse(chosen: Chosen, compare: tuple[str, str] | None, paths: Mapping[str, Any]) -> None:
    """Refuse what cannot be, before anything is started."""
    named = [name for name in ("front", "backend") if getattr(chosen, name)]
    if compare and chosen.backend:
        raise LabError("--backend and --compare: --compare names both back ends")
    if chosen.target.startswith("http://") and (named or compare or chosen.docker):
        raise LabError(f"{chosen.target}: a URL names who is asked; leave the other options out")
    if chosen.docker and (named or compare):
        raise LabError(
            "--docker traces the chain that runs: see lab up --docker, lab swap --docker"
        )
    if not chosen.target.startswith(("/", "http://")):
        raise LabError(f"{chosen.target}: give a path, /hello, or http://HOST:PORT/PATH")
    for option, path in paths.items():
        if path is not None and not path.absolute().parent.is_dir():
            raise LabError(f"--{option} {path}: there is no folder {path.parent}")
        if path is not None and compare and option in ("pcap", "perfetto"):
            raise LabError(f"--{option} holds one trace: trace each of {' '.join(compare)} alone")


def _compared(chosen: Chosen, names: tuple[str, str]) -> list[Chosen]:
    """Return what each of two back ends is asked, both in the same way."""
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
    """Return what to ask for."""
    if target.startswith("/"):
        return target
    parts = urlsplit(target)
    return urlunsplit(("", "", parts.path or "/", parts.query, ""))


@contextlib.contextmanager
def _opening(chosen: Chosen) -> Iterator[Open]:
    """Give what opens the chain for a run."""
    if chosen.docker:
        from lab.trace import containers  # who has no Docker has no need of its SDK

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
    """Write the files that are wanted; return a line for each."""
    told = []
    traces = [each for each, _ in taken]
    if path := paths["json"]:
        path.write_text(json.dumps(as_json(traces), indent=1) + "\n")
        told.append(f"{path}: everything, see lab/trace/SCHEMA.md")
    if path := paths["html"]:
        from lab.trace import page  # a page needs Jinja and Vega's package; a ladder does not

        page.write(path, traces, shlex.join(["lab", *sys.argv[1:]]))
        told.append(f"{path}: open it in a browser")
    if path := paths["perfetto"]:
        path.write_text(json.dumps(perfetto(traces[0])) + "\n")
        told.append(f"{path}: open it at https://ui.perfetto.dev, which reads it in the browser")
    if path := paths["pcap"]:
        captured = taken[0][1]
        if captured is None:
            raise LabError(f"--pcap {path}: no packets were captured, see above")
        ports = fastcgi_ports(traces[0])
        pcapng.write(path, captured, ports)
        told.append(f"{path}: {pcapng.command(path, ports)}")
    return told


def fastcgi_ports(trace: Trace) -> list[int]:
    """Return the TCP ports at which FastCGI was spoken."""
    spoken = {
        event.connection.ends["server"] for event in trace.events
        if isinstance(event, Message) and event.protocol == "fastcgi"
        and event.connection.kind == "tcp"
    }  # fmt: skip
    return sorted(int(end.rpartition(":")[2]) for end in spoken)
