"""State, CPU time and context switches of a process or thread, from /proc (man proc(5))."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds per tick, the unit of CPU time in /proc/PID/stat."""


@dataclass(frozen=True, slots=True)
class Task:
    """A snapshot of a thread."""

    state: str
    """R running or waiting for a CPU, S sleeping, D, T, Z."""
    cpu_seconds: float
    """User and system time so far, with the resolution of a tick."""
    voluntary: int
    """Context switches because the thread had to wait."""
    involuntary: int
    """Context switches because the scheduler ran another thread."""


def task(pid: int | str = "self", tid: int | None = None) -> Task:
    """Return thread `tid` of a process, by default the main one; ProcessLookupError if gone."""
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
    """Return the kernel function a process sleeps in; "" if the kernel does not tell."""
    try:
        found = Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""
    return (
        "" if found == "0" else found.partition(".")[0]
    )  # drop the compiler's suffix, such as .isra.0


def count(pid: int | str, folder: str) -> int:
    """Count the entries of a process's /proc folder: `fd` or `task`."""
    return sum(1 for _ in Path(f"/proc/{pid}/{folder}").iterdir())
