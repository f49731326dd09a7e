"""select, poll and epoll asked in the same way, for E3, E4 and E15: what one call costs.

One connection is ready, and it is the last that the kernel comes to; the timeout is long. So the
call is the one a server makes: select and poll look at everybody before they find it, and queue
themselves at each connection on the way, as they must when they may have to sleep.
"""

import ctypes
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from experiments import libc, timing

_LONG: Final = 1000  # milliseconds; never waited for
_ROUND: Final = 10_000_000  # ns of calls in a round: a switch away hurts one round, not all

ROOM: Final = 4096
"""Events that one epoll_wait may return: more than are ever ready."""


def select_call(fds: Sequence[int]) -> Callable[[], int]:
    """Return a call of select(2); the set is copied before each, for the call changes it."""
    wanted, given = libc.Bits(), libc.Bits()
    wanted.add(fds)
    count = max(fds) + 1

    def call() -> int:
        given.copy_from(wanted)
        return libc.select(count, given, None, None, _LONG / 1000)

    return call


def poll_call(fds: Sequence[int]) -> Callable[[], int]:
    """Return a call of poll(2) on an array that stays as it is between calls."""
    entries = (libc.PollFd * len(fds))(*(libc.PollFd(fd, select.POLLIN, 0) for fd in fds))
    address = ctypes.addressof(entries)
    return lambda: libc.poll(address, len(entries), _LONG)


def epoll_call(epoll: select.epoll) -> Callable[[], int]:
    """Return a call of epoll_wait(2); who is watched was said before."""
    events = (libc.EpollEvent * ROOM)()
    return lambda: libc.epoll_wait(epoll.fileno(), events, ROOM, _LONG)


def cost(call: Callable[[], int], ready: int) -> float:
    """Return µs of CPU of a call, which must say that `ready` are ready.

    The fastest of some rounds: others on the machine, in the caches too, only ever add to it.
    """
    begin = time.thread_time_ns()
    if (said := call()) != ready:
        raise RuntimeError(f"{said} ready instead of {ready}")
    once = time.thread_time_ns() - begin
    calls = max(3, min(2000, _ROUND // once))
    return min(timing.cost(call, calls, rounds=1) for _ in range(timing.ROUNDS)) / 1000


def each(call: Callable[[socket.socket], object], connections: Sequence[socket.socket]) -> float:
    """Return µs of CPU of a call for each of the connections."""
    begin = time.thread_time_ns()
    for connection in connections:
        call(connection)
    return (time.thread_time_ns() - begin) / 1000 / len(connections)
