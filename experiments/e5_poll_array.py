"""E5: poll takes an array, not a linked list.

The array ends exactly at the end of a page, and the next page is inaccessible. Called with exactly
these entries, poll(2) works; called with one more, it fails with EFAULT, because it reads past the
last entry: entry i is always at the start plus i times 8 bytes.
"""

import ctypes
import errno
import mmap
import select
import socket
from collections.abc import Sequence
from typing import Any, Final

from experiments import libc
from experiments.frame import CONFIRMED, REFUTED, Experiment, Finding, Limits, Numbers
from experiments.sockets import await_bytes, pairs

CONNECTIONS: Final = 8
READY: Final = (1, 6)
"""Indexes of the two connections that have data."""


def measure(_limits: Limits) -> Numbers:
    """Poll an array at the end of a page, with its length and with one entry more."""
    with pairs(CONNECTIONS) as made, mmap.mmap(-1, 2 * mmap.PAGESIZE) as memory:
        for place in READY:
            made[place][1].sendall(b"x")
            await_bytes(made[place][0], 1)
        return _ask([server for server, _ in made], memory)


def _ask(servers: Sequence[socket.socket], memory: mmap.mmap) -> dict[str, Any]:
    size = ctypes.sizeof(libc.PollFd)
    at = mmap.PAGESIZE - len(servers) * size
    entries = (libc.PollFd * len(servers)).from_buffer(memory, at)
    start = ctypes.addressof(entries)
    fence = start + len(servers) * size
    libc.mprotect(fence, mmap.PAGESIZE, libc.PROT_NONE)
    try:
        for entry, server in zip(entries, servers, strict=True):
            entry.fd, entry.events = server.fileno(), select.POLLIN
        reported = libc.poll(start, len(servers), 0)
        ready = [place for place, entry in enumerate(entries) if entry.revents]
        try:
            one_more = str(libc.poll(start, len(servers) + 1, 0))
        except OSError as error:
            one_more = errno.errorcode[error.errno or 0]
    finally:
        libc.mprotect(fence, mmap.PAGESIZE, libc.PROT_READ_WRITE)
        del entries, entry  # they export the buffer, and mmap cannot close while they do
    return {
        "entry_bytes": size,
        "pointer_bytes": ctypes.sizeof(ctypes.c_void_p),
        "entries": len(servers),
        "said": reported,
        "ready": ready,
        "one_more": one_more,
    }


def judge(numbers: Numbers) -> list[Finding]:
    """Refuted if poll finds the ready entries by index and reads past the last one.

    No threshold: it is an array or it is not.
    """
    by_place = numbers["ready"] == list(READY) and numbers["said"] == len(READY)
    array = by_place and numbers["one_more"] == "EFAULT"
    key = (
        f"{numbers['entries']} adjacent entries of {numbers['entry_bytes']} bytes (fd, events, "
        f"revents) end at a page boundary: poll found the ready ones at indexes "
        f"{numbers['ready']}; asked for one entry more: {numbers['one_more']}"
    )
    scope = (
        "This holds for the interface. Internally, Linux copies the array into linked blocks "
        "(struct poll_list in fs/select.c): the claim's likely source, not measured here."
    )
    return [Finding("E5", REFUTED if array else CONFIRMED, key, scope)]


EXPERIMENT = Experiment(
    claims={"E5": "poll is implemented with pointers to pollfd, a linked list."},
    title="poll takes an array",
    method="Eight adjacent struct pollfd end at a page boundary; the next page is inaccessible "
    "(mprotect). poll(2) is called with eight entries, then with nine.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=15, cpu_seconds=10),
)
