"""The parts under measurement, the load on them, and the cost of a request."""

import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from chainlab.transport import Address, bind_listener, bound_address
from lab.chain.backends import find_backend
from lab.chain.fronts import find_front, nginx_config
from lab.chain.processes import cpu_times, free_port, start_part, stop_part
from lab.chain.rundir import LabError, Part, RunDir
from loadtest import baseline


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a ratio: the part whose CPU counts, and the URL that loads it."""

    part: Part
    url: str


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU µs per request."""

    user: float
    kernel: float

    @property
    def total(self) -> float:
        """User and kernel."""
        return self.user + self.kernel


class Bench:
    """The parts under measurement; all are stopped when `stack` is closed."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._count = 0

    def _next_folder(self) -> RunDir:
        self._count += 1
        return RunDir(self._folder / str(self._count))

    def _keep(self, part: Part) -> Part:
        self._stack.callback(stop_part, part)
        return part

    def back(self, name: str, workers: int) -> Part:
        """Start a back end with `workers` children, on a unix socket."""
        return self._keep(find_backend(name).start(self._next_folder(), workers, self._count))

    def direct(self, name: str, workers: int) -> Side:
        """Start a back end that speaks HTTP, for direct access."""
        listen = Address("127.0.0.1", free_port())
        run_dir = self._next_folder()
        part = find_backend(name).start(run_dir, workers, self._count, address=listen)
        return side(self._keep(part))

    def front(self, name: str, backend: Part, workers: int) -> Part:
        """Start a front with one process, which keeps its connections to `backend`'s workers."""
        run_dir = self._next_folder()
        listen = Address("127.0.0.1", free_port())
        kind, chosen = find_front(name), find_backend(backend.name)
        config = kind.write_config(run_dir.path, listen, chosen, [backend.address], workers)
        if name == "nginx":  # keep connections to php-fpm too: there is a child for each
            text = nginx_config(run_dir.path, listen, chosen, [backend.address], keep=True)
            config.write_text(text)
        part = self._keep(start_part(name, kind.command(config), listen, run_dir))
        failures = chosen.broken_rules(f"http://{listen}", quick=True)
        if failures:
            raise LabError(f"{name} with {backend.name} breaks the contract: {failures[0]}")
        return part

    def baseline(self) -> Side:
        """Start the baseline: a minimal server in C."""
        run_dir = self._next_folder()
        try:
            program = baseline.build(run_dir.path)
        except baseline.NoCompiler as error:
            raise LabError(str(error)) from None
        with bind_listener(Address("127.0.0.1", 0)) as listener:
            command = [str(program), str(listener.fileno())]
            address = bound_address(listener)
            return side(
                self._keep(start_part("baseline", command, address, run_dir, bound=listener))
            )

    def stop(self, part: Part) -> None:
        """Stop a part early."""
        stop_part(part)


def side(part: Part) -> Side:
    """Return a part as a side, with its own address as the URL."""
    return Side(part, f"http://{part.address}")


def cost(measured: Side, connections: int, seconds: float, warm: float = 0.3) -> Cost:
    """Return the cost per request of `measured` in a closed loop of `connections` clients."""
    load(measured.url, connections, warm)  # warm up connections, caches, memos
    before = cpu_times(measured.part)
    done = load(measured.url, connections, seconds)
    after = cpu_times(measured.part)
    user, kernel = ((now - then) / done * 1e6 for now, then in zip(after, before, strict=True))
    return Cost(user, kernel)


def load(url: str, connections: int, seconds: float) -> int:
    """Return the number of requests wrk got answered; LabError if an answer was wrong."""
    # wrk takes only whole seconds; `timeout` ends it by SIGINT after a fraction, and wrk still
    # prints its report.
    command = ["wrk", "-t1", f"-c{connections}", "-d60", "--timeout", "10", f"{url}/hello"]
    out = ""
    for allowed in (seconds, 2 * seconds, 10 * seconds):
        limit = ["timeout", "--signal=INT", "--kill-after=5", f"{allowed:g}"]
        out = subprocess.run(limit + command, capture_output=True, text=True, check=False).stdout
        if out:  # else SIGINT came before wrk had its handler: the machine is busy
            break
    found = re.search(r"(\d+) requests in", out)
    wrong = re.search(r"Non-2xx.*|Socket errors:.*", out)
    if not found or not int(found[1]) or wrong:
        raise LabError(f"wrk on {url}: {wrong[0] if wrong else out.strip() or 'no answer'}")
    return int(found[1])


def repeat_until(count: int, step: Callable[[], int]) -> None:
    """Call `step` until its return values add up to `count`."""
    done = 0
    while done < count:
        done += step()
