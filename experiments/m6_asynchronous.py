"""M6: asynchronous I/O: neither phase blocks; the kernel reports when the copy is done.

With io_uring one system call submits the read. Then the process works, and now and then looks at a
word of memory shared with the kernel. When that says done, the data is already in the buffer: no
call fetches it. For comparison, a signal-driven read is notified when the data can be fetched, and
then has to fetch it.
"""

from typing import Final

from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.reading import read_often

DELAY: Final = 0.02
"""Seconds until the datagram is sent."""

_TIMES: Final = 9


def measure(_limits: Limits) -> Numbers:
    """Read in both ways."""
    return {
        "asynchronous": read_often("asynchronous", DELAY, _TIMES),
        "signal": read_often("signal-driven", DELAY, _TIMES),
    }


def judge(numbers: Numbers) -> list[Finding]:
    """One call before the data arrives, none after; no sleep; the right data in the buffer."""
    read, other = numbers["asynchronous"], numbers["signal"]
    holds = (
        read["calls"] == 1
        and read["call"] < read["arrived"] <= read["done"]
        and read["slept"] == 0
        and read["work"] > 0
        and read["right"]
    )
    key = (
        f"one system call, {(read['arrived'] - read['call']) / 1e6:.1f} ms before the data "
        f"arrived; the process did {read['work']:,} turns of other work and slept "
        f"{read['slept']} times; {(read['done'] - read['arrived']) / 1e3:.0f} µs after the "
        f"arrival it saw the completion, and the data {'was' if read['right'] else 'was not'} in "
        "its buffer"
    )
    scope = (
        "The notes expect a signal (POSIX AIO can send one); here a word in shared memory reports "
        "completion. The kernel interrupts the process and copies on its CPU time. A "
        "signal-driven read still had to copy: "
        f"{(other['done'] - other['copy']) / 1e3:.0f} µs in recv."
    )
    return [Finding("M6", verdict(holds), key, scope)]


EXPERIMENT = Experiment(
    claims={
        "M6": "Asynchronous I/O: neither phase blocks; the kernel copies and reports when it is "
        "done."
    },
    title="Notified when the copy is done",
    method="A datagram is read with io_uring and with signal-driven I/O; the process does other "
    "work until it arrives.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=30, cpu_seconds=20),
)
