"""K5: a descriptor is a small number, an index into a table that each process has for itself.

The lowest free number is used first; the same number means different files in two processes; a file
opened before a fork is shared, including its offset. At the limit, calls fail with EMFILE, and a
server on level-triggered epoll spins: epoll keeps reporting the connection that it cannot accept.
The cure is a reserve descriptor: the server closes it, accepts and closes the connection, so that
the client gets EOF, and reopens it.
"""

import errno
import os
import resource
import select
import socket
import tempfile
from pathlib import Path
from typing import Final

from experiments import proc
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict

SPINS: Final = 100
"""Looks at a connection that cannot be accepted; without EMFILE it is reported only once."""

ROOM: Final = 32
"""Descriptors allowed beyond those in use: few, so that the limit is reached quickly."""


def measure(_limits: Limits) -> Numbers:
    """Test four properties of the table."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            "lowest": _lowest(),
            "two_processes": _two_processes(Path(folder)),
            "offset": _offset(Path(folder)),
            "limit": _at_the_limit(),
        }


def _lowest() -> dict[str, int]:
    """Open three descriptors, close the middle one, open another."""
    first, middle, last = (os.open("/dev/null", os.O_RDONLY) for _ in range(3))
    os.close(middle)
    again = os.open("/dev/zero", os.O_RDONLY)
    for fd in (first, again, last):
        os.close(fd)
    return {"first": first, "closed": middle, "last": last, "opened": again}


def _two_processes(folder: Path) -> Numbers:
    """Return which file the same number means in two processes."""
    ours, theirs = folder / "ours", folder / "theirs"
    fd = os.open(ours, os.O_CREAT | os.O_RDWR)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(fd)
            number = os.open(theirs, os.O_CREAT | os.O_RDWR)
            name = Path(os.readlink(f"/proc/self/fd/{number}")).name  # noqa: PTH115
            os.write(writer, f"{number} {name}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    there = os.read(reader, 100).decode().split()
    here = Path(os.readlink(f"/proc/self/fd/{fd}")).name  # noqa: PTH115
    for each in (fd, reader, writer):
        os.close(each)
    return {"number": fd, "here": here, "there_number": int(there[0]), "there": there[1]}


def _offset(folder: Path) -> dict[str, int]:
    """A child reads 10 bytes through a shared descriptor, and 10 through one it opened itself."""
    path = folder / "offset"
    path.write_bytes(bytes(100))
    shared, own = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
    child = os.fork()
    if child == 0:
        try:
            os.read(shared, 10)
            os.read(os.open(path, os.O_RDONLY), 10)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    found = {
        "shared": os.lseek(shared, 0, os.SEEK_CUR),
        "opened_apart": os.lseek(own, 0, os.SEEK_CUR),
    }
    os.close(shared)
    os.close(own)
    return found


def _at_the_limit() -> Numbers:
    """Open files up to the limit, then act as a server with a client waiting."""
    used = proc.count("self", "fd")
    limit = used + ROOM
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    client = socket.create_connection(listener.getsockname())
    client.settimeout(10)
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    reserve = os.open("/dev/null", os.O_RDONLY)
    opened = []
    try:
        while True:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        code = errno.errorcode[error.errno or 0]
    poller.poll(10)  # until the connection is reported
    reports = sum(len(poller.poll(0)) for _ in range(SPINS) if _refused(listener))
    os.close(reserve)
    listener.accept()[0].close()
    reserve = os.open("/dev/null", os.O_RDONLY)
    found = {
        "limit": limit,
        "highest": max(opened),
        "error": code,
        "looks": SPINS,
        "reports": reports,
        "reports_with_reserve": len(poller.poll(0)),
        "client_read": len(client.recv(1)),
    }
    for fd in [*opened, reserve]:
        os.close(fd)
    for each in (listener, client, poller):
        each.close()
    return found


def _refused(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except OSError as error:
        return error.errno == errno.EMFILE
    return False


def judge(numbers: Numbers) -> list[Finding]:
    """Judge four parts; POSIX or man pages promise each."""
    low, two, offset, end = (
        numbers[part] for part in ("lowest", "two_processes", "offset", "limit")
    )
    lowest = low["opened"] == low["closed"] < low["last"]
    apart = two["number"] == two["there_number"] and two["here"] != two["there"]
    shared = offset["shared"] == 10 and offset["opened_apart"] == 0
    spins = end["reports"] == end["looks"]
    full = end["error"] == "EMFILE" and end["highest"] == end["limit"] - 1
    cured = end["reports_with_reserve"] == 0 and end["client_read"] == 0
    return [
        Finding(
            "K5",
            verdict(lowest),
            f"{low['first']}, {low['closed']} and {low['last']} were open, {low['closed']} was "
            f"closed; the next open returned {low['opened']}",
            part="the lowest free number",
        ),
        Finding(
            "K5",
            verdict(apart),
            f"descriptor {two['number']} is the file “{two['here']}” here, and "
            f"{two['there_number']} is “{two['there']}” in another process",
            part="a table for each process",
        ),
        Finding(
            "K5",
            verdict(shared),
            f"a child read 10 bytes of a file opened before the fork: our offset is "
            f"{offset['shared']}; our offset in the same file opened separately: "
            f"{offset['opened_apart']}",
            "A fork copies the table; the open files that it refers to are shared.",
            part="a fork shares the open file",
        ),
        Finding(
            "K5",
            verdict(full and spins and cured),
            f"with a limit of {end['limit']} the highest number is {end['highest']}, then "
            f"{end['error']}; epoll reported the client that could not be accepted in "
            f"{end['reports']} of {end['looks']} looks, and {end['reports_with_reserve']} times "
            "after a reserve descriptor was used to accept it",
            "A server must keep a descriptor in reserve, or stop watching its listener.",
            part="the limit",
        ),
    ]


EXPERIMENT = Experiment(
    claims={
        "K5": "A descriptor is a small non-negative integer: an index into the table of open files "
        "that the kernel keeps for each process."
    },
    title="The table of descriptors",
    method="Files are opened and closed in one process, in two, across a fork, and up to the "
    "limit while a client waits to be accepted.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=15, cpu_seconds=10),
)
