"""Reads from /proc what all processes of a part have used so far and hold now.

A client is connected as soon as the kernel has completed the handshake. The server may accept it
much later, and fork or start a thread then. `settle` waits for that, so that start-up is not
measured: until no client waits in the kernel, and the numbers of processes, threads and descriptors
stay the same. A server that leaves clients waiting for good (all its workers are busy) counts as
settled too.

CPU: a process's own clock counts in ns, and includes its ended threads (man
clock_getcpuclockid(3)). /proc/PID/stat counts in ticks of 10 ms, too coarse for a trial of a
second, and is used only for the ratio of user to kernel time, and for ended children. Context
switches are counted per thread and lost when it ends, so a server that forks or starts threads
under load shows too few.
"""

import contextlib
import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from lab.chain.processes import family_of
from lab.chain.rundir import Part
from lab.compare.result import Cost

PATIENCE: Final = 5.0
"""Seconds to settle: about ten times the time of 512 forks, and less than a server's timeout for
silent clients."""
_STEADY: Final = 0.04
"""Seconds without a change if no client waits; a fork or a thread takes a tenth of this."""
_RESIGNED: Final = 0.3
"""Seconds without a change if clients wait: longer, because the machine may just be busy."""
_INTERVAL: Final = 0.01
_LISTENING: Final = "0A"
"""TCP_LISTEN of the kernel's tcp_states.h."""

_LISTED: Final = Path(f"/proc/self/task/{os.getpid()}/children").exists()
"""Whether this kernel lists children (CONFIG_PROC_CHILDREN)."""
_READINGS: Final = 20
"""Readings at most, until a process family is the same before and after."""
_CPUCLOCK: Final = 2
"""CPUCLOCK_SCHED of the kernel's posix-timers.h: ns of the whole process."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a part has used since it started, and holds now."""

    seconds: float  # CPU, user and kernel
    user: float  # user and kernel separately, with the resolution of a tick
    kernel: float
    switches: int
    resident: int  # bytes
    threads: int
    descriptors: int | None  # None: another user's process in a container, not readable


def used(part: Part) -> Used | None:
    """Return what `part` has used; None if it is gone."""
    found = None
    for _ in range(_READINGS):
        family = _family(part)
        if not family:
            return None
        found = _used(family)
        if family == _family(part):
            break
    return found


def _used(family: list[psutil.Process]) -> Used:
    seconds = user = kernel = 0.0
    switches = resident = threads = 0
    descriptors: list[int | None] = []
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            times = process.cpu_times()
            user += times.user + times.children_user
            kernel += times.system + times.children_system
            seconds += times.children_user + times.children_system
            # The kernel encodes a process's CPU clock as the inverted pid with the clock type.
            seconds += time.clock_gettime((~process.pid << 3) | _CPUCLOCK)
            switches += _switches(process.pid)
            resident += process.memory_info().rss
            threads += process.num_threads()
            descriptors.append(_descriptors(process))
    known = [each for each in descriptors if each is not None]
    held = sum(known) if len(known) == len(descriptors) else None
    return Used(seconds, user, kernel, switches, resident, threads, held)


def _descriptors(process: psutil.Process) -> int | None:
    try:
        return int(process.num_fds())
    except psutil.AccessDenied:
        return None


def _switches(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            for line in (task / "status").read_text().splitlines():
                if "ctxt_switches" in line:
                    total += int(line.split()[1])
    return total


def settle(parts: Collection[Part], port: int) -> bool:
    """Wait until the first of `parts`, which listens on `port`, has accepted its clients.

    Return False if it has not within PATIENCE. This also waits until the previous trial's clients
    are gone, because their descriptors still change.
    """
    deadline = time.monotonic() + PATIENCE
    first = next(iter(parts))
    held: list[tuple[int, int, int]] = []
    since = time.monotonic()
    while True:
        enough = _RESIGNED if waiting(first, port) else _STEADY
        found = [_holdings(part) for part in parts]
        now = time.monotonic()
        if found != held:
            held, since = found, now
        elif now - since >= enough:
            return True
        if now >= deadline:
            return False
        time.sleep(_INTERVAL)


def _family(part: Part) -> list[psutil.Process]:
    """Return a part's processes by the kernel's lists of children, far cheaper than all of /proc.

    A process that ends meanwhile may hide a sibling (man proc_tid_children(5)), so callers trust a
    family only if a second reading is the same.
    """
    process = part.process
    if process is None or not _LISTED:
        return family_of(part)
    family = [process]
    for each in family:  # grows in the loop: children of children
        for pid in _children(each.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                family.append(psutil.Process(pid))
    return family


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # the process has ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _holdings(part: Part) -> tuple[int, int, int]:
    """Return the numbers of processes, threads and descriptors of a part."""
    family = _family(part)
    threads = descriptors = 0
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            threads += process.num_threads()
            descriptors += _descriptors(process) or 0
    return len(family), threads, descriptors


def waiting(part: Part, port: int) -> int:
    """Return how many clients are connected to `port` but not accepted yet (man proc_net(5)).

    A listener's receive queue holds that count. Each network namespace has its own table, so it is
    read through the part's process. Listeners come first in the table.
    """
    total = 0
    with contextlib.suppress(OSError), Path(f"/proc/{part.pid}/net/tcp").open() as table:
        next(table)
        for line in table:
            _, local, _, state, queues, *_ = line.split(maxsplit=5)
            if state != _LISTENING:
                break
            if int(local.partition(":")[2], 16) == port:
                total += int(queues.partition(":")[2], 16)
    return total


def cost(before: Used | None, after: Used | None, answered: int) -> Cost | None:
    """Return the cost per request between two readings; None if it cannot be determined."""
    if before is None or after is None or not answered:
        return None
    total = after.seconds - before.seconds
    user, kernel = after.user - before.user, after.kernel - before.kernel
    if total < 0 or user < 0 or kernel < 0:
        return None  # a child that was not waited for took its CPU time with it
    share = user / (user + kernel) if user + kernel else 0.5
    switches = after.switches - before.switches
    return Cost(
        user_us=total * share / answered * 1e6,
        kernel_us=total * (1 - share) / answered * 1e6,
        switches=switches / answered if switches >= 0 else None,
        resident_bytes=after.resident,
        threads=after.threads,
        descriptors=after.descriptors,
    )
