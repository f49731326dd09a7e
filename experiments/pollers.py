"""What one call of select, poll and epoll costs in the same situation, for E3, E4 and E15.

One connection is ready, the last that the kernel checks, and the timeout is long, as in a server.
So select and poll check every connection before they find the ready one, and add themselves to the
wait queue of each, as they must when they may have to sleep.
"""

import ctypes
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from experiments import libc, timing

_LONG: Final = 1000  # milliseconds; a connection is ready, so no call waits
_ROUND: Final = 10_000_000  # ns of calls per round: a context switch spoils one round, not all

ROOM: Final = 4096
"""maxevents of epoll_wait: more than are ever ready."""


def select_call(fds: Sequence[int]) -> Callable[[], int]:
    """Return a select(2) call that first copies the set, because select overwrites it."""
    wanted, given = libc.Bits(), libc.Bits()
    wanted.add(fds)
    count = max(fds) + 1

    def call() -> int:
        given.copy_from(wanted)
        return libc.select(count, given, None, None, _LONG / 1000)

    return call


def poll_call(fds: Sequence[int]) -> Callable[[], int]:
    """Return a poll(2) call; its array is reused unchanged between calls."""
    entries = (libc.PollFd * len(fds))(*(libc.PollFd(fd, select.POLLIN, 0) for fd in fds))
    address = ctypes.addressof(entries)
    return lambda: libc.poll(address, len(entries), _LONG)


def epoll_call(epoll: select.epoll) -> Callable[[], int]:
    """Return an epoll_wait(2) call on descriptors registered before."""
    events = (libc.EpollEvent * ROOM)()
    return lambda: libc.epoll_wait(epoll.fileno(), events, ROOM, _LONG)


def cost(call: Callable[[], int], ready: int) -> float:
    """Return the CPU µs per call; RuntimeError unless the call reports `ready` descriptors.

    The fastest of several rounds: other processes can only add to the cost.
    """
    begin = time.thread_time_ns()
    if (reported := call()) != ready:
        raise RuntimeError(f"{reported} ready instead of {ready}")
    once = time.thread_time_ns() - begin
    calls = max(3, min(2000, _ROUND // once))
    return min(timing.cost(call, calls, rounds=1) for _ in range(timing.ROUNDS)) / 1000


def each(call: Callable[[socket.socket], object], connections: Sequence[socket.socket]) -> float:
    """Call it for each connection; return the mean CPU µs per call."""
    begin = time.thread_time_ns()
    for connection in connections:
        call(connection)
    return (time.thread_time_ns() - begin) / 1000 / len(connections)
