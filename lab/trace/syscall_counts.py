"""Count the system calls per request, by name, with strace.

`strace -f -c` counts the calls of a process and its descendants. Two instances run: one gets a few
requests, the other N more, each on one kept-alive connection. The difference between their counts
belongs to the N requests, so starting, accepting, closing and stopping cancel out. Only counts are
used, not times: strace slows down the server. A server that reads before it waits may or may not
find the next request there already, so even its counts vary.

strace starts the server rather than attaching to it, because Yama (kernel.yama.ptrace_scope = 1, as
on Ubuntu) allows tracing one's own child. strace does not forward signals: the server is signalled
by its own pid, and strace writes its summary and ends after the last process.
"""

import http.client
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import psutil

from chainlab.transport import Address
from lab.chain.backends import Backend
from lab.chain.fronts import FRONTS
from lab.chain.processes import free_port, stop_part
from lab.chain.rundir import LabError, Part, RunDir

REQUESTS: Final = 300
"""N: large enough that a timer that fires meanwhile does not show."""

_FEW: Final = 10  # enough to include all one-time work

LEAST: Final = 0.05
"""Leave out calls below this rate per request: they come from timers, not from requests."""

_WORKERS: Final = 2
_PATIENCE: Final = 20.0  # seconds for the server to end after its signal


def unavailable() -> str | None:
    """Return why calls cannot be counted here, and the remedy; None if they can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed: run sudo apt install strace"
    command = [strace, "-f", "-c", "-o", "/dev/null", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        error = (done.stderr.strip().splitlines() or ["strace failed"])[-1]
        return f"{error}; in a container, start it with --cap-add=SYS_PTRACE"
    return None


def count_per_request(backend: Backend) -> dict[str, float]:
    """Return calls per request by name, most frequent first; LabError if the server fails."""
    with ThreadPoolExecutor(2) as pool:
        few, many = pool.map(lambda n: _count(backend, n), (_FEW, _FEW + REQUESTS))
    rates = {name: (many[name] - few[name]) / REQUESTS for name in many}
    kept = [(name, rate) for name, rate in rates.items() if rate >= LEAST]
    return dict(sorted(kept, key=lambda item: -item[1]))


def _count(backend: Backend, requests: int) -> Counter[str]:
    """Return the calls in the whole life of one instance that serves `requests` requests."""
    with (
        tempfile.TemporaryDirectory(prefix="chainlab-explain-") as folder,
        ExitStack() as stack,
    ):
        run_dir = RunDir(Path(folder))
        summary = run_dir.path / "strace"
        tracer = ["strace", "-f", "-c", "-o", str(summary), "--"]

        def keep(part: Part) -> Part:
            stack.callback(stop_part, part, 0)
            return part

        listen = Address("127.0.0.1", free_port())
        if backend.protocol == "http":
            part = keep(backend.start(run_dir, _WORKERS, 1, address=listen, tracer=tracer))
            _ask(str(listen), requests)
        else:
            part = keep(backend.start(run_dir, _WORKERS, 1, tracer=tracer))
            front = FRONTS["gateway"].start(run_dir, listen, backend, part.address, _WORKERS)
            keep(front)
            _ask(str(listen), requests)
            stop_part(front)  # its kept-alive connections would keep the back end from ending
        _end(part)
        return read_summary(summary.read_text())


def _ask(address: str, requests: int) -> None:
    """Send requests one after the other, on one connection while the server keeps it open."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        for _ in range(requests):
            connection.request("GET", "/hello")
            response = connection.getresponse()
            body = response.read()
            if body != b"Hello, world!\n":
                raise LabError(f"GET /hello returned {response.status}, {body[:60]!r}")
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"GET /hello failed under strace: {error}") from None
    finally:
        connection.close()


def _end(part: Part) -> None:
    """Stop the traced server, strace's child; wait until strace has ended too."""
    strace = part.process
    if strace is None:
        raise LabError(f"{part.name} ended under strace")
    try:
        for server in strace.children():
            server.send_signal(signal.SIGQUIT)
        strace.wait(_PATIENCE)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        raise LabError(f"{part.name} did not end within {_PATIENCE:g} s under strace") from None


def read_summary(text: str) -> Counter[str]:
    """Parse calls by name from `strace -c`: % seconds usecs calls [errors] name."""
    counts: Counter[str] = Counter()
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            counts[fields[-1]] += int(fields[3])
    return counts
