"""What is measured in a turn of its own, because measuring it costs: system calls, idle memory.

System calls are counted by perf at named tracepoints, attached before the connections come and
enabled only between the driver's marks, so that starting and accepting count for nothing. Threads
and children that come later are counted too.

An idle connection is one that was accepted and never asked. Its memory is what CROWD of them add to
a fresh instance: each part's own pages (what is shared with another process is not theirs), and
the kernel's: slab, stacks and page tables of the whole machine, both ends of each connection; so
that figure needs a machine that does nothing else.

What cannot be measured has its reason with it: a figure that lacks without one would pass for zero.
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
"""Calls per request below which one is left out: a timer's, not the request's."""
_PATIENCE: Final = 10.0
_SETTLED: Final = 1.0  # seconds for one more to be answered: who pins its workers never does

_LOOKS: Final = 20  # at memory that has not settled

_CALLS: Final = (
    "recvfrom", "recvmsg", "read", "readv", "sendto", "sendmsg", "write", "writev", "sendfile64",
    "accept", "accept4", "close", "shutdown", "select", "pselect6", "poll", "ppoll", "epoll_wait",
    "epoll_pwait", "epoll_pwait2", "epoll_ctl", "futex", "io_uring_enter", "rt_sigtimedwait",
    "fcntl", "ioctl", "setsockopt", "getsockname", "getpeername", "clone", "clone3", "wait4",
    "waitid", "mmap", "munmap", "clock_nanosleep", "sched_yield", "tgkill", "getrandom",
)  # fmt: skip


def events() -> tuple[str, ...]:
    """Return the tracepoints that this kernel has and perf may use; none: `lacking` says why."""
    return find()[0]


def lacking() -> str:
    """Return why no system call can be counted here; empty: they can."""
    return find()[1]


@cache
def find() -> tuple[tuple[str, ...], str]:
    """Return both."""
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
        said = next((line.strip() for line in done.stderr.splitlines() if line.strip()), "")
        return (), f"perf may not count: {said or 'it says not why'}; run it as root"
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
        """Have it "enable" or "disable"; return when it has. It may have ended: then nothing."""
        with contextlib.suppress(OSError):
            os.write(self._control, f"{word}\n".encode())
            os.read(self._ack, 16)

    def stop(self) -> dict[str, int]:
        """End it; return calls by name, {} when it could not count."""
        end(self._process, _PATIENCE)
        os.close(self._control)
        os.close(self._ack)
        try:
            return read_perf(self._out.read_text())
        except FileNotFoundError:
            return {}


def read_perf(text: str) -> dict[str, int]:
    """Return counts by system call, from what `perf stat -x,` writes: count,unit,event,..."""
    found = {}
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[0].isdigit() and "sys_enter_" in fields[2]:
            found[fields[2].partition("sys_enter_")[2]] = int(fields[0])
    return found


def per_request(counts: dict[str, int], answered: int) -> dict[str, float]:
    """Return calls per request, the most frequent first, without those that are a timer's."""
    rates = {name: count / answered for name, count in counts.items()} if answered else {}
    told = [(name, round(rate, 4)) for name, rate in rates.items() if rate >= LEAST]
    return dict(sorted(told, key=lambda each: -each[1]))


def idle_bytes(running: Instance) -> tuple[dict[str, float], str]:
    """Return bytes per idle connection by part, and the kernel's; and why something lacks."""
    before = _settled(running)
    kernel = _kernel()
    with _crowd(running.url):
        after = _settled(running)
        kernel = _kernel() - kernel
    if any(part.process is None for part in running.parts.values()):
        return {}, f"it ended while it held {CROWD} idle connections"
    found = {name: max(0, after[name] - size) / CROWD for name, size in before.items()}
    hidden = " and ".join(name for name in running.parts if name not in found)
    reasons = [f"{hidden}: another user's, see it as root"] if hidden else []
    if kernel > 0:
        found["kernel"] = kernel / CROWD
    else:
        reasons.append("kernel: the machine freed more meanwhile than the connections took")
    return found, "; ".join(reasons)


def _settled(running: Instance) -> dict[str, int]:
    """Return each part's own memory once it stays the same: workers may be starting still."""
    found: dict[str, int] = {}
    for _ in range(_LOOKS):
        before = found
        found = {name: _own(part) for name, part in running.parts.items() if _readable(part)}
        if found == before:
            break
        time.sleep(0.05)
    return found


@contextmanager
def _crowd(url: str) -> Iterator[None]:
    """Hold CROWD connections; one more that is answered shows that they were accepted."""
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
    """Whether its memory is for this user to see: a container's may be another's."""
    try:
        Path(f"/proc/{part.pid}/smaps_rollup").read_bytes()
    except PermissionError:
        return False
    except OSError:  # it has ended, which others find out
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
    running: Instance, turn: Trial, folder: Path
) -> tuple[dict[str, dict[str, float]], str]:
    """Return calls per request by part and name, of a turn of its own; and why something lacks."""
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
        answered = drive(turn, mark)[0].answered
    finally:
        counts = {name: counter.stop() for name, counter in counters.items()}
    if not answered:
        return {}, "no request was answered while they were counted"
    found = {name: per_request(each, answered) for name, each in counts.items() if each}
    without = [name for name in counts if name not in found]
    return found, f"perf counted nothing of the {' and the '.join(without)}" if without else ""
