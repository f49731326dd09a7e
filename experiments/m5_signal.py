"""M5: signal-driven I/O: the process keeps running, and a signal reports that data has arrived.

First, one read: how much the process worked in the meantime, and how soon the signal followed the
data. Then, many events at once: real-time signals queue, one per event, but at most
RLIMIT_SIGPENDING. Beyond that the kernel sends a plain SIGIO (man fcntl(2), F_SETSIG), which only
says that signals were lost: the process has to check every socket.
"""

import os
import resource
import select
import signal
import socket
from collections import Counter
from fcntl import F_GETFL, F_SETFL, F_SETOWN, fcntl
from typing import Final

from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.reading import read_often

DELAY: Final = 0.02
"""Seconds until the datagram is sent."""

SOON: Final = 0.5
"""The signal must follow the data within this share of the delay, or the data did not cause it."""

QUEUE: Final = 8
"""Limit of pending signals."""

SOCKETS: Final = 32
"""Sockets that get data before any signal is taken: more than QUEUE."""

_F_SETSIG: Final = 10
_TIMES: Final = 9


def measure(_limits: Limits) -> Numbers:
    """Read one datagram; then overflow the signal queue."""
    return {"delay_ms": DELAY * 1000, "read": read_often("signal-driven", DELAY, _TIMES),
            "overflow": _overflow()}  # fmt: skip


def _overflow() -> Numbers:
    hard = resource.getrlimit(resource.RLIMIT_SIGPENDING)[1]
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (QUEUE, hard))
    real_time = signal.SIGRTMIN + 1
    signal.pthread_sigmask(signal.SIG_BLOCK, {real_time, signal.SIGIO})
    sockets = []
    for _ in range(SOCKETS):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        fcntl(sock, F_SETOWN, os.getpid())
        fcntl(sock, _F_SETSIG, real_time)
        fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) | os.O_ASYNC)
        sockets.append(sock)
    with socket.socket(type=socket.SOCK_DGRAM) as out:
        for sock in sockets:
            out.sendto(b"x", sock.getsockname())
    taken: Counter[int] = Counter()
    while found := signal.sigtimedwait({real_time, signal.SIGIO}, 0.1):
        taken[found.si_signo] += 1
    ready = len(select.select(sockets, [], [], 0)[0])
    for sock in sockets:
        sock.close()
    return {
        "sockets": SOCKETS,
        "queue": QUEUE,
        "real_time": taken[real_time],
        "sigio": taken[signal.SIGIO],
        "ready": ready,
    }


def judge(numbers: Numbers) -> list[Finding]:
    """The process must run and get the signal; of many events it must lose some."""
    read, many = numbers["read"], numbers["overflow"]
    late = (read["told"] - read["arrived"]) / 1e3
    waited = (read["arrived"] - read["call"]) / 1e6
    ran = read["slept"] == 0 and read["work"] > 0 and read["right"]
    soon = 0 <= late <= SOON * numbers["delay_ms"] * 1e3
    notified = (
        f"in {waited:.1f} ms of waiting the process did {read['work']:,} turns of other work and "
        f"slept {read['slept']} times; the signal came {late:.0f} µs after the data"
    )
    lost = many["real_time"] < many["ready"] and many["sigio"] == 1
    overflow = (
        f"{many['ready']} sockets had data; {many['real_time']} real-time signals were queued (the "
        f"limit is {many['queue']}), then {many['sigio']} plain SIGIO"
    )
    return [
        Finding("M5", verdict(ran and soon), notified,
                "The process still makes the copying call itself: see M0.",
                "the signal comes with the data"),
        Finding("M5", verdict(lost), overflow,
                "After SIGIO the process must check every socket, as with multiplexing.",
                "the queue overflows"),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    claims={
        "M5": "Signal-driven I/O: the process keeps running, and the kernel sends a signal when "
        "the data is there."
    },
    title="Notified by a signal",
    method=f"A datagram is read on SIGIO, with other work until then. Then {SOCKETS} sockets get "
    f"data while at most {QUEUE} signals may be pending.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=30, cpu_seconds=20),
)
