"""E2: select stops at descriptor 1,023, but the limit is the C library's, not the kernel's.

An fd_set has 1,024 bits. Python checks the number before it sets a bit and raises ValueError; a C
program that does not check writes past the end of its set. The system call takes the length from
its first argument: given a larger bitmap through ctypes, it watches higher descriptors too.
"""

import fcntl
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from experiments import libc
from experiments.frame import Experiment, Finding, Limits, NotHere, Numbers, verdict
from experiments.sockets import await_bytes, pair

ABOVE: Final = 1500
"""A descriptor well above the limit of fd_set."""

ROOM: Final = 2048
"""Bits of the larger set passed to the kernel."""


def measure(limits: Limits) -> Numbers:
    """Poll one ready connection under descriptor numbers on both sides of the limit."""
    if limits.descriptors <= ABOVE:
        raise NotHere(
            f"descriptor {ABOVE} is beyond this machine's hard limit of {limits.descriptors}",
            f"raise it: ulimit -Hn {ROOM}",
        )
    with pair() as (server, client):
        client.sendall(b"x")
        await_bytes(server, 1)
        numbers = [libc.FD_SETSIZE - 1, libc.FD_SETSIZE, ABOVE]
        return {
            "language": {str(fd): _at(server, fd, _by_language) for fd in numbers},
            "kernel": {str(fd): _at(server, fd, _by_kernel) for fd in numbers},
            "poll": {str(fd): _at(server, fd, _by_poll) for fd in numbers},
        }


def _at(sock: socket.socket, fd: int, ask: Callable[[int], str]) -> str:
    """Return the poller's answer about the connection under that descriptor number."""
    given = fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, fd)
    try:
        if given != fd:
            raise RuntimeError(f"descriptor {fd} is already in use in this process")
        return ask(fd)
    finally:
        os.close(given)


def _by_language(fd: int) -> str:
    try:
        return "ready" if select.select([fd], [], [], 0)[0] == [fd] else "not ready"
    except ValueError as error:
        return f"ValueError: {error}"


def _by_kernel(fd: int) -> str:
    bits = libc.Bits(ROOM)
    bits.add([fd])
    with suppress(OSError):
        if libc.select(fd + 1, bits, None, None, 0) == 1 and bits.holds(fd):
            return "ready"
    return "not ready"


def _by_poll(fd: int) -> str:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return "ready" if poll.poll(0) == [(fd, select.POLLIN)] else "not ready"


def judge(numbers: Numbers) -> list[Finding]:
    """The last descriptor that fits must work, the next must be refused.

    The only threshold is FD_SETSIZE itself.
    """
    last, beyond = str(libc.FD_SETSIZE - 1), str(libc.FD_SETSIZE)
    python = numbers["language"]
    limited = python[last] == "ready" and python[beyond].startswith("ValueError")
    key = (
        f"Python's select at descriptor {last}: {python[last]}; at {beyond}: {python[beyond]}; "
        f"poll at {beyond}: {numbers['poll'][beyond]}"
    )
    kernel = numbers["kernel"]
    scope = (
        f"The limit is that of the C library's fd_set, not the kernel's: with a bitmap of {ROOM} "
        f"bits, the system call itself reports descriptor {beyond} as {kernel[beyond]} and "
        f"{ABOVE} as {kernel[str(ABOVE)]}. Raising the limit needs no new kernel."
        if kernel[beyond] == kernel[str(ABOVE)] == "ready"
        else f"The system call itself, with a bitmap of {ROOM} bits, refuses them too."
    )
    return [Finding("E2", verdict(limited), key, scope)]


EXPERIMENT = Experiment(
    claims={"E2": "select is limited to 1,024 descriptors on Linux."},
    title="select at descriptor 1,024",
    method=f"One ready connection gets the descriptor numbers 1023, 1024 and {ABOVE} in turn. "
    "Each is passed to Python's select, to select(2) itself through ctypes with a larger bitmap, "
    "and to poll.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=15, cpu_seconds=10, descriptors=ROOM),
)
