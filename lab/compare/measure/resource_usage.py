"""What a part has used so far and holds now, in all its processes, from /proc.

A connection is there for a client as soon as the kernel has it; the server may take it much later,
and forks or starts a thread for it then. `settle` waits for that, so that starting is nobody's
time: a kernel that has no client waiting any more, and processes, threads and descriptors that stay
the same. Who leaves clients waiting for good (all its workers are taken) has settled, too.

CPU: a process's own clock counts in ns, and includes its threads that have ended (man
clock_getcpuclockid(3)); /proc/PID/stat counts in ticks of 10 ms, too coarse for a turn of a second,
and is asked only for how user and kernel divide, and for children that have ended. Context switches
are counted by thread and go with it, so who forks or starts threads under load has too few.
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
"""Seconds to settle: some ten times what 512 forks take, and less than a silent client gets."""
_STEADY: Final = 0.04
"""Seconds without a change, when nobody waits: a fork or a thread is there in a tenth of it."""
_RESIGNED: Final = 0.3
"""Seconds without a change, when clients wait: a busy machine is no reason, no worker is."""
_LOOK: Final = 0.01
_LISTENING: Final = "0A"
"""TCP_LISTEN of the kernel's tcp_states.h."""

_LISTED: Final = Path(f"/proc/self/task/{os.getpid()}/children").exists()
"""Whether this kernel lists children (CONFIG_PROC_CHILDREN)."""
_READINGS: Final = 20
"""How often a family is read again because one of it has come or gone meanwhile."""
_CPUCLOCK: Final = 2
"""CPUCLOCK_SCHED of the kernel's posix-timers.h: ns of the whole process."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a part has used since it started, and holds now."""

    seconds: float  # CPU, user and kernel
    user: float  # the same in ticks, apart
    kernel: float
    switches: int
    resident: int  # bytes
    threads: int
    descriptors: int | None  # None: they are another user's, whose container it is


def used(part: Part) -> Used | None:
    """Return what `part` has used; None when it is gone."""
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
            seconds += time.clock_gettime((~process.pid << 3) | _CPUCLOCK)
            switches += _switches(process.pid)
            resident += process.memory_info().rss
            threads += process.num_threads()
            descriptors.append(_descriptors(process))
    told = [each for each in descriptors if each is not None]
    held = sum(told) if len(told) == len(descriptors) else None
    return Used(seconds, user, kernel, switches, resident, threads, held)


def _descriptors(process: psutil.Process) -> int | None:
    try:
        return int(process.num_fds())
    except psutil.AccessDenied:
        return None


def _switches(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            for line in (task / "status").read_text().splitlines():
                if "ctxt_switches" in line:
                    total += int(line.split()[1])
    return total


def settle(parts: Collection[Part], port: int) -> bool:
    """Wait until the first of `parts`, which is asked at `port`, has taken its clients.

    False: it has not. After the last turn the clients of that one leave first, which is awaited,
    too.
    """
    deadline = time.monotonic() + PATIENCE
    asked = next(iter(parts))
    held: list[tuple[int, int, int]] = []
    since = time.monotonic()
    while True:
        enough = _RESIGNED if waiting(asked, port) else _STEADY
        found = [_holdings(part) for part in parts]
        now = time.monotonic()
        if found != held:
            held, since = found, now
        elif now - since >= enough:
            return True
        if now >= deadline:
            return False
        time.sleep(_LOOK)


def _family(part: Part) -> list[psutil.Process]:
    """Return a part's processes by the kernel's lists of children, which cost a fraction of /proc.

    One that ends meanwhile may hide a sibling (man proc_tid_children(5)), so what was read counts
    when it was read twice.
    """
    process = part.process
    if process is None or not _LISTED:
        return family_of(part)
    family = [process]
    for each in family:  # which grows
        for pid in _children(each.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                family.append(psutil.Process(pid))
    return family


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _holdings(part: Part) -> tuple[int, int, int]:
    """Return how many processes, threads and descriptors a part has."""
    family = _family(part)
    threads = descriptors = 0
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            threads += process.num_threads()
            descriptors += _descriptors(process) or 0
    return len(family), threads, descriptors


def waiting(part: Part, port: int) -> int:
    """Return how many clients are connected to `port` and not accepted yet (man proc_net(5)).

    Of a listener the receive queue is that count. Listeners come first in the kernel's table, of
    which each network namespace has its own: it is asked for by a process of the listener's.
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
    """Return what a request cost between two readings; None when that cannot be told."""
    if before is None or after is None or not answered:
        return None
    total = after.seconds - before.seconds
    user, kernel = after.user - before.user, after.kernel - before.kernel
    if total < 0 or user < 0 or kernel < 0:
        return None  # a child took its account with it
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
