"""Counting the system calls that one request costs, by name, with strace.

`strace -f -c` counts the calls of a process and of all that it starts. Of two instances one gets a
few requests, the other one N more, on one kept connection; the difference belongs to the N, so that
starting, accepting, closing and stopping count for nothing. Counts, not times: strace slows down
what it traces, and whoever reads before he waits may meet the next request there, or not yet.

The server is started by strace, not attached to, because tracing one's own child needs no right
that Yama (kernel.yama.ptrace_scope = 1, as on Ubuntu) withholds. strace does not pass signals on:
the server is told to end by its own pid, and strace ends, with its summary, after the last process.
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
"""N: so many that a timer which fires meanwhile does not show."""

_FEW: Final = 10  # enough for what is done once, by the first of a kind

LEAST: Final = 0.05
"""Calls per request below which one is left out: a timer's, not the request's."""

_WORKERS: Final = 2
_PATIENCE: Final = 20.0  # seconds for the server to end, when told


def unavailable() -> str | None:
    """Return why calls cannot be counted here and what helps; None: they can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed: run sudo apt install strace"
    command = [strace, "-f", "-c", "-o", "/dev/null", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["strace failed"])[-1]
        return f"{said}; where a container forbids it, run it with --cap-add=SYS_PTRACE"
    return None


def count_per_request(backend: Backend) -> dict[str, float]:
    """Return calls per request by name, the most frequent first; LabError when it does not run."""
    with ThreadPoolExecutor(2) as pool:
        few, many = pool.map(lambda n: _count(backend, n), (_FEW, _FEW + REQUESTS))
    rates = {name: (many[name] - few[name]) / REQUESTS for name in many}
    told = [(name, rate) for name, rate in rates.items() if rate >= LEAST]
    return dict(sorted(told, key=lambda item: -item[1]))


def _count(backend: Backend, requests: int) -> Counter[str]:
    """Return the calls of one instance's whole life, with `requests` requests in it."""
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
            stop_part(front)  # its kept connections hold back ends that would end
        _end(part)
        return read_summary(summary.read_text())


def _ask(address: str, requests: int) -> None:
    """Send requests, one after the other, on one connection as long as the server keeps it."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        for _ in range(requests):
            connection.request("GET", "/hello")
            response = connection.getresponse()
            body = response.read()
            if body != b"Hello, world!\n":
                raise LabError(f"GET /hello was answered {response.status}, {body[:60]!r}")
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"GET /hello under strace: {error}") from None
    finally:
        connection.close()


def _end(part: Part) -> None:
    """Tell the traced server, strace's child, to end; return when strace has, too."""
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
        raise LabError(f"{part.name} did not end under strace") from None


def read_summary(text: str) -> Counter[str]:
    """Return calls by name, from what `strace -c` writes: % seconds usecs calls [errors] name."""
    counts: Counter[str] = Counter()
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            counts[fields[-1]] += int(fields[3])
    return counts
