"""Starting, swapping and stopping a chain: front, back end, and the state that names them.

A swap never leaves the chain without a back end: the new one is started and checked by the
contract through a front of its own, then the running front is switched, and only when nothing
runs on the old one any more is that one stopped. If anything fails before the switch, the old one
goes on as if nothing had been asked.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from chainlab.transport import Address
from lab.chain.backends import Backend, find_backend
from lab.chain.fronts import FRONTS, find_front
from lab.chain.processes import free_port, start_part, stop_part
from lab.chain.rundir import LabError, Part, RunDir, State

Say = Callable[[str], None]


def start_chain(
    run_dir: RunDir, front: str, backend: str, port: int, workers: int, *, timed: bool = False
) -> State:
    """Start a back end, check it, put a front before it; LabError leaves nothing running.

    `timed`: gateway and worker tell where the time goes, which costs some microseconds a request.
    """
    chosen, kind = find_backend(backend), find_front(front)
    state = run_dir.load()
    if state is not None and (state.front.process or state.backend.process):
        raise LabError(
            f"a chain is up already at {state.url} (pids {state.front.pid}, "
            f"{state.backend.pid}); stop it by `lab down`, or set CHAINLAB_RUN to another folder"
        )
    run_dir.clear()
    part = chosen.start(run_dir, workers, 1, timed=timed)
    try:
        check(chosen, part, workers)
        listen = Address("127.0.0.1", port or free_port())
        face = kind.start(run_dir, listen, chosen, part.address, workers, timed=timed)
        state = State(face, part, workers, 1, timed)
        run_dir.store(state)
    except BaseException:
        stop_part(part)
        raise
    return state


def swap_backend(run_dir: RunDir, name: str, say: Say) -> State:
    """Put back end `name` into the running chain; LabError leaves the old one in its place."""
    state = require_state(run_dir)
    chosen, kind = find_backend(name), find_front(state.front.name)
    number = state.number + 1
    say(f"starting {name}")
    fresh = chosen.start(run_dir, state.workers, number, timed=state.timed)
    try:
        say(f"checking {name} by the contract")
        check(chosen, fresh, state.workers)
    except BaseException:
        stop_part(fresh)
        raise
    say(f"switching the {kind.name}, draining {state.backend.name}")
    listen = Address("127.0.0.1", int(state.front.address.rpartition(":")[2]))
    config = kind.write_config(
        run_dir.path, listen, chosen, [fresh.address], state.workers, timed=state.timed
    )
    old = state.backend
    state = replace(state, backend=fresh, number=number)
    run_dir.store(state)  # from here on both are reachable by `lab down`, if the switch hangs
    kind.switch(state.front, config)
    say(f"stopping {old.name}")
    stop_part(old)
    return state


def stop_chain(run_dir: RunDir) -> State | None:
    """Stop what runs, the front first; return what it was."""
    state = run_dir.load()
    if state is not None:
        stop_part(state.front)
        stop_part(state.backend)
    run_dir.clear()
    return state


def require_state(run_dir: RunDir) -> State:
    """Return the state of a chain that runs; LabError when it does not."""
    state = run_dir.load()
    if state is None:
        raise LabError("no chain is up; start one by `lab up`")
    dead = [part for part in (state.front, state.backend) if part.process is None]
    if dead:
        names = " and ".join(f"{part.name} (pid {part.pid})" for part in dead)
        raise LabError(f"{names} ended; see {run_dir.log_path(dead[0].name)}, then `lab down`")
    return state


def check(backend: Backend, part: Part, workers: int) -> None:
    """Ask a back end the quick part of the contract, through a gateway of its own."""
    gateway = FRONTS["gateway"]
    with tempfile.TemporaryDirectory(prefix="chainlab-check-") as folder:
        run_dir = RunDir(Path(folder))
        listen = Address("127.0.0.1", free_port())
        config = gateway.write_config(run_dir.path, listen, backend, [part.address], workers)
        face = start_part("gateway", gateway.command(config), listen, run_dir)
        try:
            failures = backend.broken_rules(f"http://{listen}", quick=True)
        finally:
            stop_part(face)
        log = run_dir.log_path("gateway").read_text()
    if failures:
        said = [line for line in log.splitlines() if "[warn]" in line or "[error]" in line]
        told = f" (the gateway said: {said[-1]})" if said else ""
        raise LabError(f"{backend.name} breaks the contract: {failures[0]}{told}")
