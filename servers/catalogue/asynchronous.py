"""Asynchronous servers: the kernel, or a library in its place, completes what was asked for."""

import os
from pathlib import Path
from typing import Final

from servers.spec import Spec


def _without_io_uring() -> str | None:
    """Tell by what the kernel says of itself; a sandbox that forbids it shows at the start."""
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    if release < (6, 0):
        return f"Linux {os.uname().release} has no multishot receive: it takes Linux 6.0 or newer"
    try:
        disabled = Path("/proc/sys/kernel/io_uring_disabled").read_text().strip()
    except OSError:
        disabled = "0"
    if disabled == "2" or (disabled == "1" and os.geteuid() != 0):
        return "io_uring is disabled: run sudo sysctl kernel.io_uring_disabled=0"
    return None


SPECS: Final = (
    Spec(
        name="posix-aio",
        title="aio_read and aio_write, by threads of the C library",
        family="asynchronous",
        processes="one",
        threads="one, and the C library's: one for each operation under way",
        multiplexer="aio_suspend",
        mode="completion",
        model=(
            "aio_read returns at once; a thread of the C library sleeps in read for it.",
            "aio_suspend sleeps until one of the operations is done, and the list is walked.",
            "The interface is asynchronous, what is below it blocks.",
        ),
        sleeps=("in aio_suspend(3); a library thread sleeps in recv", "a library thread copies"),
        good="showing that an interface and a mechanism are two things",
        bad="sockets: a thread for each silent client, and a switch for each read",
        neighbours=("io-uring", "thread-pool"),
        source="servers/asynchronous/posix_aio.py",
        limits=("at most 256 connections: each waits in a thread",),
        claims=("M6",),
        target="servers.asynchronous.posix_aio:PosixAio",
    ),
    Spec(
        name="io-uring",
        title="completion by io_uring",
        family="asynchronous",
        processes="one",
        threads="one",
        multiplexer="io_uring_enter",
        mode="completion, multishot",
        model=(
            "Requests are written into a ring of shared memory: one accept for all",
            "connections, one receive for all that a connection will send.",
            "One call hands over what was asked and sleeps for what is done; the bytes",
            "are in our memory by then.",
        ),
        sleeps=("in io_uring_enter(2), for all connections at once", "nowhere: it is done"),
        good="many small operations: several for one system call",
        bad="sandboxes: container runtimes forbid it by default",
        neighbours=("epoll-et", "posix-aio"),
        source="servers/asynchronous/io_uring.py",
        limits=("a handler that computes holds up everybody", "Linux 6.0 or newer"),
        claims=("M6",),
        target="servers.asynchronous.io_uring:IoUring",
        probe=_without_io_uring,
    ),
)
