"""M6: asynchronous I/O: neither phase blocks; the kernel tells when the copy is done.

io_uring: a read is handed over by one system call; from then on the process works, and looks now
and then at a word of memory that it shares with the kernel. When that says done, the data are in
its buffer: no call fetches them. Beside it the signal-driven read, which is told when the data can
be fetched, and then has to.
"""

from typing import Final

from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.reading import read_often

DELAY: Final = 0.02
"""Seconds until the datagram is sent."""

_TIMES: Final = 9


def measure(_limits: Limits) -> Numbers:
    """Read once in both ways."""
    return {
        "asynchronous": read_often("asynchronous", DELAY, _TIMES),
        "signal": read_often("signal-driven", DELAY, _TIMES),
    }


def judge(numbers: Numbers) -> list[Finding]:
    """One call, before the data came; none after; no sleep; the data are there."""
    read, other = numbers["asynchronous"], numbers["signal"]
    holds = (
        read["calls"] == 1
        and read["call"] < read["arrived"] <= read["done"]
        and read["slept"] == 0
        and read["work"] > 0
        and read["right"]
    )
    key = (
        f"one system call, {(read['arrived'] - read['call']) / 1e6:.1f} ms before the data came; "
        f"{read['work']:,} turns of other work, slept {read['slept']} times; when the process saw "
        f"that it was done, {(read['done'] - read['arrived']) / 1e3:.0f} µs after the data came, "
        f"they {'lay' if read['right'] else 'did not lie'} in its buffer"
    )
    scope = (
        "Told by a word in shared memory, where the notes have a signal (POSIX AIO can send one). "
        "The kernel copies in the process's own time, when it interrupts it. A signal-driven read "
        f"still had to copy: {(other['done'] - other['copy']) / 1e3:.0f} µs in recv."
    )
    return [Finding("M6", verdict(holds), key, scope)]


EXPERIMENT = Experiment(
    claims={
        "M6": "Asynchronous I/O: neither phase blocks; the kernel copies, and tells when it is "
        "done."
    },
    title="Told when it is done",
    method="A datagram is read by io_uring, with other work meanwhile, and by signal-driven I/O.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=30, cpu_seconds=20),
)
