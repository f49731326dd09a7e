"""What /proc says of a process or a thread (man proc(5)): state, CPU ticks, switches."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds of a tick, the unit of CPU time in /proc/PID/stat."""


@dataclass(frozen=True, slots=True)
class Task:
    """A thread as the kernel saw it at one moment."""

    state: str
    """R running or waiting for a CPU, S sleeping, D, T, Z."""
    cpu_seconds: float
    """User and system time so far; counted in ticks."""
    voluntary: int
    """Switches away because it had to wait."""
    involuntary: int
    """Switches away because another one was let run."""


def task(pid: int | str = "self", tid: int | None = None) -> Task:
    """Return the thread `tid` of a process, by default its first; ProcessLookupError: gone."""
    folder = Path(f"/proc/{pid}") / (f"task/{tid or pid}" if pid != "self" else "")
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        status = (folder / "status").read_text()
    except FileNotFoundError:
        raise ProcessLookupError(f"no process {pid}, thread {tid}") from None
    lines = (line.partition(":") for line in status.splitlines())
    values = {name: value.strip() for name, _, value in lines}
    return Task(
        state=fields[0],
        cpu_seconds=(int(fields[11]) + int(fields[12])) * TICK,
        voluntary=int(values["voluntary_ctxt_switches"]),
        involuntary=int(values["nonvoluntary_ctxt_switches"]),
    )


def where(pid: int) -> str:
    """Return the kernel's function that a process sleeps in; "" where the kernel does not say."""
    try:
        found = Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""
    return "" if found == "0" else found.partition(".")[0]  # without the compiler's suffix


def count(pid: int | str, folder: str) -> int:
    """Return how many entries a folder of the process has: `fd`, `task`."""
    return sum(1 for _ in Path(f"/proc/{pid}/{folder}").iterdir())
