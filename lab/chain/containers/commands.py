"""The `--docker` side of the chain's commands: call `lifecycle`, show the result.

Imported only with `--docker`, because it needs Docker's SDK.
"""

import json
import time
from collections.abc import Sequence
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from lab.chain.backends import Backend
from lab.chain.containers import lifecycle as docker_chain
from lab.chain.containers.engine import Project
from lab.chain.display import print_commands
from loadtest.interrupts import ignore_interrupts

_EVENTS: Final = 3600.0  # seconds per request for the engine's events


def up(console: Console, front: str, backend: str, port: int, workers: int, detach: bool) -> int:
    """Start the chain in containers and print their events until Ctrl-C."""
    project = Project()
    chain = docker_chain.up(project, front, backend, port, workers)
    show(console, project)
    console.print(f"\nThe chain is at {chain.url}.", highlight=False)
    print_commands(
        console,
        {
            f"curl -i {chain.url}/whoami": "show which back end answers",
            "lab swap epoll-et --docker": "replace the back end; no request fails",
            "lab status --docker": "show the containers and their resource use",
            "lab down --docker": "stop and remove the containers",
        },
    )
    if detach:
        return 0
    console.print("\nCtrl-C stops the chain.", style="dim")
    try:
        while project.containers():
            for event in project.events(_EVENTS):
                _print_event(console, str(event["Action"]), event["Actor"]["Attributes"]["name"])
                if event["Action"] == "destroy" and not project.containers(stopped=True):
                    return 0  # `lab down` removed the chain
    except KeyboardInterrupt:
        ignore_interrupts()
        console.print("stopping")
        docker_chain.down(project)
    return 0


def _print_event(console: Console, action: str, name: str) -> None:
    if not action.startswith(("exec_", "top", "create", "attach")):  # health checks: too many
        console.print(f"{time.strftime('%H:%M:%S')} {name}: {action}", highlight=False)


def swap(console: Console, backend: str) -> None:
    """Replace the back end of the chain in containers."""
    project = Project()
    with console.status("") as status:
        docker_chain.swap(project, backend, lambda step: status.update(step))
    show(console, project)


def status(console: Console, *, as_json: bool) -> None:
    """Show the containers and their resource use; LabError if no chain is running."""
    project = Project()
    chain = docker_chain.Chain.of(project)
    if as_json:
        whole = {"url": chain.url, **chain.variables, "containers": docker_chain.status(project)}
        click.echo(json.dumps(whole, indent=2))
    else:
        show(console, project)


def show(console: Console, project: Project) -> None:
    """Show a row for each container."""
    table = Table("service", "runs", "image", "health", box=None, pad_edge=False)
    for head in ("cores", "memory", "processes"):
        table.add_column(head, justify="right")
    for row in docker_chain.status(project):
        runs = row["runs"] if row["service"] in ("gateway", "fcgi_worker") else ""
        used = (f"{row['cores']:.2f}", f"{row['memory_bytes'] / 2**20:.0f} MiB")
        table.add_row(
            row["service"], runs, row["image"], row["health"], *used, str(row["processes"])
        )
    console.print(table)


def verify(console: Console, backends: Sequence[Backend], *, as_json: bool) -> int:
    """Check back ends against the contract, each through a gateway in new containers."""
    project = Project("chainlab-verify")
    found = {}
    for backend in backends:
        with console.status(backend.name):
            failures = docker_chain.verify(project, backend.name)
        found[backend.name] = list(map(str, failures))
        if not as_json:
            console.print(f"{backend.name}: {'breaks' if failures else 'keeps'} the contract")
            for failure in failures:
                console.print(f"  {failure}", style="red")
    if as_json:
        click.echo(json.dumps(found, indent=2))
    return int(any(found.values()))


def down() -> None:
    """Stop and remove the chain's containers, its network and its volume."""
    docker_chain.down(Project())
