"""Small real comparisons: what takes part in them, and what comes of it."""

import signal
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil

from lab.chain.backends import BACKENDS
from lab.chain.rundir import Part, RunDir
from lab.compare.drive.session import Session
from lab.compare.drive.targets import Instance, Target, of_backend
from lab.compare.outcome import make_result
from lab.compare.result import Architecture, Cell, Check, Result, from_json, to_json
from lab.compare.settings import ROUTES, Settings
from tests.support.processes import Process

ODD = Path(__file__).parents[2] / "loadtest" / "odd_server.py"


def described(name: str, unavailable: str = "") -> Architecture:
    return Architecture(name, name, "none", "http", "none", True, "", unavailable, {})


def part_of(process: Process) -> Part:
    address = process.wait_until_listening()
    return Part("odd", process.pid, psutil.Process(process.pid).create_time(), str(address))


def odd(way: str, dies: bool = False) -> Target:
    """A server that misbehaves; `dies`: killed when it has served 200."""

    def start(_run_dir: RunDir, _workers: int, stack: ExitStack) -> Instance:
        process = stack.enter_context(Process([sys.executable, str(ODD), way]))
        part = part_of(process)
        if dies:

            def kill() -> None:
                process.wait_for_stderr("served 200")
                process.signal(signal.SIGKILL)

            killer = threading.Thread(target=kill)
            killer.start()
            stack.callback(killer.join)
        return Instance(f"http://{part.address}", {"back": part})

    return Target(described(way), start)


def backend(name: str) -> Target:
    return of_backend(BACKENDS[name], "none")


def settings(connections: int = 4, rounds: int = 1, deeply: bool = False) -> Settings:
    routes = {"hello": ROUTES["hello"]}
    return Settings(routes, (connections,), rounds, 0.3, 1.0, command="test", quick=not deeply)


def open_loop(*rates: float, rounds: int = 1, duration: float = 0.3) -> Settings:
    return replace(settings(2, rounds), mode="open", rates=rates, duration=duration)


def compare(
    folder: Path, plan: Settings, *chosen: Target, baseline: Target | None = None
) -> Result:
    session = Session(plan, list(chosen), baseline, folder)
    session.run()
    found = make_result(session, plan, list(chosen), started=0.0, seconds=1.0, complete=True)
    assert from_json(to_json(found)) == found
    return found


def by_name(result: Result) -> dict[str, Cell]:
    return {cell.architecture: cell for cell in result.cells}


def check_of(cell: Cell, name: str) -> Check:
    (found,) = [each for each in cell.checks if each.name == name]
    return found
