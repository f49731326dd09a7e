"""E5: poll is given an array, not a list of linked structs.

The array is laid so that it ends where a page ends, and the page behind may not be touched. Asked
about exactly these entries, poll(2) answers; asked about one more, it fails with EFAULT, for it
reads on behind the last one: entry i lies at the start plus i times 8 bytes and nowhere else.
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
"""Places in the array of the two that have data."""


def measure(_limits: Limits) -> Numbers:
    """Ask about an array at the end of a page, and about one entry more than there is."""
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
        said = libc.poll(start, len(servers), 0)
        ready = [place for place, entry in enumerate(entries) if entry.revents]
        try:
            one_more = str(libc.poll(start, len(servers) + 1, 0))
        except OSError as error:
            one_more = errno.errorcode[error.errno or 0]
    finally:
        libc.mprotect(fence, mmap.PAGESIZE, libc.PROT_READ_WRITE)
        del entries, entry  # the memory cannot be given back while they look into it
    return {
        "entry_bytes": size,
        "pointer_bytes": ctypes.sizeof(ctypes.c_void_p),
        "entries": len(servers),
        "said": said,
        "ready": ready,
        "one_more": one_more,
    }


def judge(numbers: Numbers) -> list[Finding]:
    """Refuted when poll found the ready ones by their place, and read on behind the last.

    No threshold: an array it is, or it is not.
    """
    by_place = numbers["ready"] == list(READY) and numbers["said"] == len(READY)
    array = by_place and numbers["one_more"] == "EFAULT"
    key = (
        f"{numbers['entries']} entries of {numbers['entry_bytes']} bytes (fd, events, revents) "
        f"side by side up to the end of a page: poll found the ready ones at places "
        f"{numbers['ready']}; asked about one entry more: {numbers['one_more']}"
    )
    scope = (
        "True of the interface. Inside, Linux copies the array into blocks that it chains "
        "(struct poll_list in fs/select.c): the claim's likely source, not measured here."
    )
    return [Finding("E5", REFUTED if array else CONFIRMED, key, scope)]


EXPERIMENT = Experiment(
    claims={"E5": "poll is implemented with pointers to pollfd, a linked list."},
    title="poll takes an array",
    method="Eight struct pollfd lie side by side and end where a page ends; the next page may not "
    "be touched (mprotect). poll(2) is asked about eight of them, then about nine.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=15, cpu_seconds=10),
)
