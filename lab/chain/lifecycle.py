"""Starts, swaps and stops a chain: front, back end, and the state that records them.

A swap never leaves the chain without a back end. It starts the new back end, checks the contract
through a temporary gateway, and switches the running front. It stops the old back end only when
no request is left on it. If anything fails before the switch, the old back end keeps serving. If
the switch does not finish, both keep running until the next swap or `lab down`.
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
    """Start a back end, check it, and start a front; after a LabError nothing is left running.

    `timed` makes gateway and worker report where the time goes: some microseconds per request.
    """
    chosen, kind = find_backend(backend), find_front(front)
    state = run_dir.load()
    if state is not None and (state.front.process or state.backend.process):
        raise LabError(
            f"a chain is already running at {state.url} (pids {state.front.pid}, "
            f"{state.backend.pid}); stop it with `lab down`, or set CHAINLAB_RUN to another folder"
        )
    run_dir.clear()
    part = chosen.start(run_dir, workers, 1, timed=timed)
    try:
        check(chosen, part, workers)
        listen = Address("127.0.0.1", port or free_port())
        started = kind.start(run_dir, listen, chosen, part.address, workers, timed=timed)
    except BaseException:
        stop_part(part)
        raise
    state = State(started, part, workers, 1, timed)
    try:
        run_dir.store(state)
    except BaseException:
        stop_parts(state)
        raise
    return state


def swap_backend(run_dir: RunDir, name: str, say: Say) -> State:
    """Replace the back end of the running chain; a LabError before the switch changes nothing.

    If the switch itself fails, the front may use either back end, so both are kept and recorded.
    """
    state = require_state(run_dir)
    chosen, kind = find_backend(name), find_front(state.front.name)
    number = state.number + 1
    say(f"starting {name}")
    fresh = chosen.start(run_dir, state.workers, number, timed=state.timed)
    try:
        say(f"checking {name} against the contract")
        check(chosen, fresh, state.workers)
        say(f"switching {kind.name}, draining {state.backend.name}")
        listen = Address("127.0.0.1", int(state.front.address.rpartition(":")[2]))
        config = kind.write_config(
            run_dir.path, listen, chosen, [fresh.address], state.workers, timed=state.timed
        )
        old = (*state.draining, state.backend)
        state = replace(state, backend=fresh, number=number, draining=old)
        run_dir.store(state)  # before the switch, so that `lab down` finds all if it fails
    except BaseException:
        stop_part(fresh)
        raise
    kind.switch(state.front, config)
    for part in old:
        say(f"stopping {part.name}")
        stop_part(part)
    state = replace(state, draining=())
    run_dir.store(state)
    return state


def stop_chain(run_dir: RunDir) -> State | None:
    """Stop the chain, front first; return its state, or None if none was running."""
    state = run_dir.load()
    if state is not None:
        stop_parts(state)
    run_dir.clear()
    return state


def stop_parts(state: State) -> None:
    """Stop all parts of a chain, front first."""
    for part in (state.front, state.backend, *state.draining):
        stop_part(part)


def require_state(run_dir: RunDir) -> State:
    """Return the state of the running chain; LabError if none runs or a part has died."""
    state = run_dir.load()
    if state is None:
        raise LabError("no chain is running; start one with `lab up`")
    dead = [part for part in (state.front, state.backend) if part.process is None]
    if dead:
        names = " and ".join(f"{part.name} (pid {part.pid})" for part in dead)
        raise LabError(f"{names} exited; see {run_dir.log_path(dead[0].name)}, then run `lab down`")
    return state


def check(backend: Backend, part: Part, workers: int) -> None:
    """Run the quick contract checks on a back end, through a temporary gateway."""
    gateway = FRONTS["gateway"]
    with tempfile.TemporaryDirectory(prefix="chainlab-check-") as folder:
        run_dir = RunDir(Path(folder))
        listen = Address("127.0.0.1", free_port())
        config = gateway.write_config(run_dir.path, listen, backend, [part.address], workers)
        front = start_part("gateway", gateway.command(config), listen, run_dir)
        try:
            failures = backend.broken_rules(f"http://{listen}", quick=True)
        finally:
            stop_part(front)
        log = run_dir.log_path("gateway").read_text()
    if failures:
        logged = [line for line in log.splitlines() if "[warn]" in line or "[error]" in line]
        detail = f" (the gateway logged: {logged[-1]})" if logged else ""
        raise LabError(f"{backend.name} breaks the contract: {failures[0]}{detail}")
