"""`lab up`, `swap`, `status`, `verify`, `load`, `down` and `demo`: the commands of the chain."""

import json
import os
import sys
import time
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from lab.chain import demo as demo_module
from lab.chain.backends import BACKENDS, find_backend
from lab.chain.display import draw_chain, draw_next
from lab.chain.fronts import gateway_status
from lab.chain.lifecycle import require_state, start_chain, stop_chain, swap_backend
from lab.chain.load import ROUTES, SHAPES, locust_command, run_load
from lab.chain.processes import family_of, resident_bytes
from lab.chain.rundir import LabError, RunDir, State
from lab.chain.verify import Verifier, choose
from lab.chain.verify_table import result_row, watch
from loadtest.curves import CROWD
from loadtest.interrupts import ignore_interrupts

console = Console()

in_containers = click.option(
    "--docker", is_flag=True, help="Use containers, as docker-compose.yml defines them."
)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.option("--front", default="gateway", metavar="NAME", show_default=True,
              help="Proxy in front: gateway or nginx.")  # fmt: skip
@click.option("--backend", default="fcgi-worker", metavar="ID", show_default=True,
              help="Back end; see lab list.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True,
              help="Port on 127.0.0.1; 0 picks a free one.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 256), default=4, show_default=True,
              help="Concurrent requests of back ends with a fixed number of workers.")  # fmt: skip
@click.option("--detach", is_flag=True,
              help="Return at once; the chain runs until `lab down`.")  # fmt: skip
@in_containers
def up(front: str, backend: str, port: int, workers: int, detach: bool, docker: bool) -> None:
    """Start the chain and draw it. Ctrl-C stops it."""
    if docker:
        from lab.chain.containers import commands as docker_commands

        sys.exit(docker_commands.up(console, front, backend, port, workers, detach))
    run_dir = RunDir()
    with run_dir.locked():
        state = start_chain(run_dir, front, backend, port, workers, timed=True)
    try:
        draw_chain(console, state)
        draw_next(console, state)
        if not detach:
            console.print("\nCtrl-C stops the chain.", style="dim")
            sys.exit(_stay(run_dir, state))
    except KeyboardInterrupt:
        ignore_interrupts()
        console.print("stopping")
        stop_chain(run_dir)


def _stay(run_dir: RunDir, state: State) -> int:
    """Wait until Ctrl-C, until `lab down` elsewhere, or until a part dies; return the exit code."""
    while True:
        time.sleep(0.5)
        now = run_dir.load()
        if now is None or now.front != state.front:
            return 0  # `lab down` stopped the chain
        dead = [part for part in (now.front, now.backend) if part.process is None]
        if dead and _stop_the_rest(run_dir, now):
            return 1


def _stop_the_rest(run_dir: RunDir, state: State) -> bool:
    """Stop the parts that outlived one; False if another command is changing the chain."""
    try:
        with run_dir.locked():
            if run_dir.load() != state:
                return False
            dead = next(part for part in (state.front, state.backend) if part.process is None)
            message = f"{dead.name} (pid {dead.pid}) exited; stopping the other parts"
            console.print(message, style="red")
            stop_chain(run_dir)
            return True
    except LabError:  # `lab down` or `lab swap` holds the lock
        return False


@click.command()
@click.argument("name", metavar="ID|all")
@as_json_option
@in_containers
def verify(name: str, as_json: bool, docker: bool) -> None:
    """Check back ends against the application's contract, directly and through the gateway.

    The exit code is 1 if a back end breaks the contract. Back ends that cannot run here are listed,
    but not counted.
    """
    if docker:
        from lab.chain.containers import commands as docker_commands

        backends = list(BACKENDS.values()) if name == "all" else [find_backend(name)]
        sys.exit(docker_commands.verify(console, backends, as_json=as_json))
    verifier = Verifier(choose(name))
    if as_json:
        verifier.run(lambda: None)
        click.echo(json.dumps([result_row(result) for result in verifier.results], indent=2))
    else:
        watch(console, verifier)
    sys.exit(any(result.problems for result in verifier.results))


@click.command()
@click.argument("backend", metavar="ID")
@in_containers
def swap(backend: str, docker: bool) -> None:
    """Replace the back end of the running chain; no request fails."""
    if docker:
        from lab.chain.containers import commands as docker_commands

        docker_commands.swap(console, backend)
        return
    run_dir = RunDir()
    with run_dir.locked(), console.status("") as status:
        state = swap_backend(run_dir, backend, lambda step: status.update(step))
    draw_chain(console, state)


@click.command()
@as_json_option
@in_containers
def status(as_json: bool, docker: bool) -> None:
    """Show the running chain: addresses, processes, memory.

    The exit code is 1 if no chain is running.
    """
    if docker:
        from lab.chain.containers import commands as docker_commands

        docker_commands.status(console, as_json=as_json)
        return
    state = require_state(RunDir())
    front, backend, *draining = (
        {
            **asdict(part),
            "processes": [process.pid for process in family_of(part)],
            "resident_bytes": resident_bytes(part),
        }
        for part in (state.front, state.backend, *state.draining)
    )
    board = gateway_status(state.front) if state.front.name == "gateway" else None
    if as_json:
        parts = {"front": front, "backend": backend, "draining": draining}
        whole = {"url": state.url, "workers": state.workers, **parts, "gateway": board}
        click.echo(json.dumps(whole, indent=2))
        return
    draw_chain(console, state)
    table = Table("part", "pids", "memory", box=None, pad_edge=False)
    for part in (front, backend, *draining):
        name = f"{part['name']} (draining)" if part in draining else part["name"]
        pids = " ".join(map(str, part["processes"]))
        table.add_row(name, pids, f"{part['resident_bytes'] / 2**20:.0f} MiB")
    console.print(table)
    if board:
        done = sum(process["requests"] for process in board["processes"])
        open_now = sum(process["connections"] for process in board["processes"])
        console.print(f"requests so far: {done}; open connections: {open_now}")


@click.command()
@in_containers
def down(docker: bool) -> None:
    """Stop the chain after its running requests have finished."""
    if docker:
        from lab.chain.containers import commands as docker_commands

        docker_commands.down()
        return
    run_dir = RunDir()
    with run_dir.locked():
        state = stop_chain(run_dir)
    click.echo(
        f"stopped {state.front.name} and {state.backend.name}" if state else "no chain was running"
    )


@click.command()
@click.option("--users", type=click.IntRange(1, 100_000), default=20, show_default=True,
              help="Number of users.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=20, show_default=True,
              help="Users started per second.")  # fmt: skip
@click.option("--duration", type=click.IntRange(1, 86400), default=10, show_default=True,
              metavar="SECONDS", help="Duration of the load.")  # fmt: skip
@click.option("--route", "routes", type=click.Choice(ROUTES), multiple=True,
              help="Load only this route; repeatable. [default: all]")  # fmt: skip
@click.option("--shape", type=click.Choice(SHAPES),
              help="How the number of users changes, see above. [default: constant]")  # fmt: skip
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True,
              help="Locust processes; they share the users.")  # fmt: skip
def load(
    users: int, rate: float, duration: int, routes: tuple[str, ...], shape: str | None,
    processes: int,
) -> None:  # fmt: skip
    """Load the running chain with locust, which verifies every answer.

    Shapes of the load:

    \b
    steady  all users, all the time
    steps   another fifth of the users in each fifth of the time
    spike   a tenth of the users; all of them in the middle fifth of the time
    soak    a slow ramp up, a long plateau, a slow ramp down
    crowd   all users; one in ten sends requests without pause, the others now and then

    The exit code is 1 if a request failed.
    """
    if processes > users:
        raise LabError(
            f"--processes {processes}: every process needs a user; give --users {processes} or more"
        )
    if shape == "crowd" and users < CROWD:
        raise LabError(
            f"--shape crowd: only one user in {CROWD} is active; give --users {CROWD} or more"
        )
    url = require_state(RunDir()).url
    command = locust_command(
        url, users=users, rate=rate, seconds=duration, routes=routes, shape=shape,
        processes=processes,
    )  # fmt: skip
    sys.exit(run_load(command))


@click.command()
def demo() -> None:
    """Start the chain, show one request, then swap back ends of every kind under load."""
    os.environ.pop("CHAINLAB_RUN", None)  # the demo uses a temporary folder
    sys.exit(demo_module.run(console))


COMMANDS = (up, swap, status, verify, load, down, demo)
"""The commands of this module, for `lab`."""
