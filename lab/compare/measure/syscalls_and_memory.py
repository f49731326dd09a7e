"""Measures system calls and idle memory, in separate trials because measuring costs time.

perf counts system calls at named tracepoints. It attaches before the clients connect and is enabled
only between the driver's marks, so start-up and accepting are not counted. Threads and children
that start later are counted too.

An idle connection was accepted and never used. Its memory is what CROWD of them add to a fresh
instance: each part's private pages (not those shared with another process), and the kernel's slab,
stacks and page tables. The kernel's figures are those of the whole machine and include both ends of
each connection, so they are right only on a machine that does nothing else.

Whatever could not be measured comes with its reason, so that a missing figure does not pass for
zero.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import psutil

from chainlab.transport import parse_address
from lab.chain.processes import end, family_of
from lab.chain.rundir import Part
from lab.compare.drive.drivers import Trial, drive
from lab.compare.drive.targets import Instance
from lab.compare.drive.trial import wait_until_settled

CROWD: Final = 200
LEAST: Final = 0.02
"""Rarer calls per request are left out: they belong to a timer, not to the request."""
_PATIENCE: Final = 10.0
_SETTLED: Final = 1.0  # seconds to answer one more client; a server with pinned workers never does

_READINGS: Final = 20  # of memory, until it has settled

_CALLS: Final = (
    "recvfrom", "recvmsg", "read", "readv", "sendto", "sendmsg", "write", "writev", "sendfile64",
    "accept", "accept4", "close", "shutdown", "select", "pselect6", "poll", "ppoll", "epoll_wait",
    "epoll_pwait", "epoll_pwait2", "epoll_ctl", "futex", "io_uring_enter", "rt_sigtimedwait",
    "fcntl", "ioctl", "setsockopt", "getsockname", "getpeername", "clone", "clone3", "wait4",
    "waitid", "mmap", "munmap", "clock_nanosleep", "sched_yield", "tgkill", "getrandom",
)  # fmt: skip


def events() -> tuple[str, ...]:
    """Return the tracepoints that perf can use here; if empty, `lacking` says why."""
    return find()[0]


def lacking() -> str:
    """Return why system calls cannot be counted here; "" if they can."""
    return find()[1]


@cache
def find() -> tuple[tuple[str, ...], str]:
    """Return the usable tracepoints, or why there are none."""
    perf = shutil.which("perf")
    if perf is None:
        return (), "perf is not installed: sudo apt install linux-perf"
    command = [perf, "list", "--raw-dump", "tracepoint"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    wanted = [f"syscalls:sys_enter_{name}" for name in _CALLS]
    found = tuple(name for name in wanted if name in listed)
    if not found:
        return (), "perf sees no tracepoints: run it as root, on a kernel that has tracefs mounted"
    trial = [perf, "stat", "-x,", "-e", found[0], "-p", str(os.getpid()), "true"]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line.strip() for line in done.stderr.splitlines() if line.strip()), "")
        return (), f"perf may not count: {reason or 'it gives no reason'}; run it as root"
    return found, ""


class Counter:
    """Counts the system calls of one part between `enable` and `stop`."""

    def __init__(self, part: Part, folder: Path) -> None:
        self._out = folder / f"perf-{part.pid}"
        control, self._control = os.pipe()
        self._ack, theirs = os.pipe()
        pids = ",".join(str(process.pid) for process in family_of(part))
        command = ["perf", "stat", "-x,", "-o", str(self._out), "-D", "-1", "-e"]
        control_option = ["--control", f"fd:{control},{theirs}"]
        self._process = subprocess.Popen(
            [*command, ",".join(events()), *control_option, "-p", pids],
            pass_fds=(control, theirs),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(control)
        os.close(theirs)

    def tell(self, word: str) -> None:
        """Send perf "enable" or "disable" and wait until it has done so, unless it has ended."""
        with contextlib.suppress(OSError):
            os.write(self._control, f"{word}\n".encode())
            os.read(self._ack, 16)

    def stop(self) -> dict[str, int]:
        """End perf; return calls by name, {} if it could not count."""
        end(self._process, _PATIENCE)
        os.close(self._control)
        os.close(self._ack)
        try:
            return read_perf(self._out.read_text())
        except FileNotFoundError:
            return {}


def read_perf(text: str) -> dict[str, int]:
    """Return counts by system call from the output of `perf stat -x,`: count,unit,event,..."""
    found = {}
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[0].isdigit() and "sys_enter_" in fields[2]:
            found[fields[2].partition("sys_enter_")[2]] = int(fields[0])
    return found


def per_request(counts: dict[str, int], answered: int) -> dict[str, float]:
    """Return calls per request, the most frequent first, without those rarer than LEAST."""
    rates = {name: count / answered for name, count in counts.items()} if answered else {}
    frequent = [(name, round(rate, 4)) for name, rate in rates.items() if rate >= LEAST]
    return dict(sorted(frequent, key=lambda each: -each[1]))


def idle_bytes(running: Instance) -> tuple[dict[str, float], str]:
    """Return bytes per idle connection by part and of the kernel, and why some are missing."""
    before = _settled(running)
    kernel = _kernel()
    with _crowd(running.url):
        after = _settled(running)
        kernel = _kernel() - kernel
    if any(part.process is None for part in running.parts.values()):
        return {}, f"it ended while it held {CROWD} idle connections"
    found = {name: max(0, after[name] - size) / CROWD for name, size in before.items()}
    hidden = " and ".join(name for name in running.parts if name not in found)
    reasons = [f"{hidden}: runs as another user; run as root to measure it"] if hidden else []
    if kernel > 0:
        found["kernel"] = kernel / CROWD
    else:
        reasons.append("kernel: meanwhile the machine freed more than the connections took")
    return found, "; ".join(reasons)


def _settled(running: Instance) -> dict[str, int]:
    """Return each part's private memory once it stays the same; workers may still be starting."""
    found: dict[str, int] = {}
    for _ in range(_READINGS):
        before = found
        found = {name: _own(part) for name, part in running.parts.items() if _readable(part)}
        if found == before:
            break
        time.sleep(0.05)
    return found


@contextmanager
def _crowd(url: str) -> Iterator[None]:
    """Hold CROWD connections; an answer on one more shows that all were accepted."""
    address = parse_address(url.removeprefix("http://"))
    with ExitStack() as stack:
        for _ in range(CROWD + 1):
            client = stack.enter_context(socket.socket(address.family))
            client.settimeout(_SETTLED)
            client.connect(address.sockaddr)
        with contextlib.suppress(OSError):
            client.sendall(b"GET /hello HTTP/1.1\r\nHost: idle\r\n\r\n")
            client.recv(4096)
        yield


def _readable(part: Part) -> bool:
    """Whether this user may read the part's memory; a container may run as another user."""
    try:
        Path(f"/proc/{part.pid}/smaps_rollup").read_bytes()
    except PermissionError:
        return False
    except OSError:  # it has ended; idle_bytes reports that
        return True
    return True


def _own(part: Part) -> int:
    total = 0
    for process in family_of(part):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += process.memory_full_info().uss
    return total


def _kernel() -> int:
    total = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, size = line.partition(":")
        if name in ("Slab", "KernelStack", "PageTables"):
            total += int(size.split()[0]) * 1024
    return total


def count_calls(
    running: Instance, trial: Trial, folder: Path
) -> tuple[dict[str, dict[str, float]], str]:
    """Run `trial`; return calls per request by part and name, and why some are missing."""
    counters: dict[str, Counter] = {}
    words = iter(("enable", "disable"))

    def mark() -> None:
        word = next(words)
        if word == "enable":
            wait_until_settled(running)
        for counter in counters.values():
            counter.tell(word)

    answered = 0
    try:
        for name, part in running.parts.items():
            counters[name] = Counter(part, folder)
        answered = drive(trial, mark)[0].answered
    finally:
        counts = {name: counter.stop() for name, counter in counters.items()}
    if not answered:
        return {}, "no request was answered while they were counted"
    found = {name: per_request(each, answered) for name, each in counts.items() if each}
    without = [name for name in counts if name not in found]
    return found, f"perf counted no calls of the {' and the '.join(without)}" if without else ""
