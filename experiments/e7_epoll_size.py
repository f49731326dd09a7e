"""E7: epoll_create's size is a hint, and maxevents has nothing to do with it.

The old call epoll_create(2) takes a size. It must be above 0, and since Linux 2.6.8 it is otherwise
ignored: an epoll created for one descriptor takes a hundred, and one wait can return more events
than the size.
"""

import ctypes
import errno
import os
import select
from collections.abc import Callable
from typing import Final

from experiments import libc
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.sockets import await_bytes, pairs

SIZE: Final = 1
"""The size passed to epoll_create."""

CONNECTIONS: Final = 100
"""Connections added, all with data, and requested in one wait."""


def measure(_limits: Limits) -> Numbers:
    """Add more descriptors than the size, and wait for more events than the size."""
    with pairs(CONNECTIONS) as made:
        for server, client in made:
            client.sendall(b"x")
            await_bytes(server, 1)
        handle = libc.epoll_create(SIZE)
        with select.epoll.fromfd(handle) as epoll:
            for server, _ in made:
                epoll.register(server, select.EPOLLIN)
            events = (libc.EpollEvent * CONNECTIONS)()
            beyond = (
                2**31 // ctypes.sizeof(libc.EpollEvent) + 1
            )  # fails with EINVAL before the kernel touches the array
            return {
                "size": SIZE,
                "added": CONNECTIONS,
                "maxevents": CONNECTIONS,
                "events": libc.epoll_wait(handle, events, CONNECTIONS, 0),
                "size_0": _error(lambda: os.close(libc.epoll_create(0))),
                "maxevents_0": _error(lambda: libc.epoll_wait(handle, events, 0, 0)),
                "maxevents_beyond": _error(lambda: libc.epoll_wait(handle, events, beyond, 0)),
            }


def _error(call: Callable[[], object]) -> str:
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "accepted"


def judge(numbers: Numbers) -> list[Finding]:
    """The hint holds if more than `size` could be added; the bound, if no more than `size` came.

    The only threshold is the size itself.
    """
    size, added, events = numbers["size"], numbers["added"], numbers["events"]
    hint = f"epoll_create({size}) took {added} connections; size 0 gives {numbers['size_0']}"
    bound = (
        f"a wait with maxevents {numbers['maxevents']} on an epoll of size {size} returned "
        f"{events} events"
    )
    scope = (
        f"The notes follow old manual pages. Since Linux 2.6.8 the size is ignored; maxevents "
        f"has its own bounds: 0 gives {numbers['maxevents_0']}, an array of more than 2 GiB "
        f"{numbers['maxevents_beyond']}."
    )
    bounded = events <= size
    return [
        Finding("E7", verdict(added > size), hint, part="the size is a hint"),
        Finding("E7", verdict(bounded), bound, scope, part="maxevents may not exceed it"),
    ]


EXPERIMENT = Experiment(
    claims={"E7": "epoll_create's size is a hint to the kernel, and maxevents may not exceed it."},
    title="epoll_create's size",
    method=f"After epoll_create({SIZE}), called through ctypes, {CONNECTIONS} connections with "
    f"data are added, and one epoll_wait asks for {CONNECTIONS} events.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=15, cpu_seconds=10),
)
