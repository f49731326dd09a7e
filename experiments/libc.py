"""The C library's select, poll and epoll through ctypes, without the work Python adds.

Python's select module rebuilds the sets from lists, refuses descriptor 1024 without asking the
kernel, and always uses epoll_create1. This module shows what the kernel itself does. Every function
raises OSError with the call's errno.
"""

import ctypes
import os
from collections.abc import Iterable
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)

FD_SETSIZE: Final = 1024
"""Bits in the C library's fd_set (sys/select.h); the system call has no such limit."""

PROT_NONE: Final = 0
PROT_READ_WRITE: Final = 3


class Bits:
    """A descriptor set for select(2), of any size; by default as large as an fd_set."""

    def __init__(self, size: int = FD_SETSIZE) -> None:
        self.words = (ctypes.c_ulong * (size // _WORD))()

    def add(self, fds: Iterable[int]) -> None:
        """FD_SET."""
        for fd in fds:
            self.words[fd // _WORD] |= 1 << fd % _WORD

    def holds(self, fd: int) -> bool:
        """FD_ISSET."""
        return bool(self.words[fd // _WORD] >> fd % _WORD & 1)

    def count(self) -> int:
        """Return how many descriptors are in the set."""
        return sum(word.bit_count() for word in self.words)

    def copy_from(self, other: "Bits") -> None:
        """Copy a set of the same size; needed before each call: select overwrites its sets."""
        ctypes.memmove(self.words, other.words, ctypes.sizeof(self.words))


_WORD: Final = 8 * ctypes.sizeof(ctypes.c_ulong)


class _Timeval(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("microseconds", ctypes.c_long))


def select(
    count: int, reading: Bits, writing: Bits | None, urgent: Bits | None, seconds: float
) -> int:
    """select(2) on descriptors below `count`: overwrite the sets, return how many are ready."""
    timeout = _Timeval(int(seconds), int(seconds % 1 * 1_000_000))
    sets = [ctypes.byref(each.words) if each else None for each in (reading, writing, urgent)]
    return _checked(_libc.select(count, *sets, ctypes.byref(timeout)))


class PollFd(ctypes.Structure):
    """struct pollfd: 8 bytes, with no room for a pointer to a next entry."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


def poll(address: int, count: int, milliseconds: int) -> int:
    """poll(2) on an array of `count` structs at `address`."""
    return _checked(_libc.poll(ctypes.c_void_p(address), ctypes.c_ulong(count), milliseconds))


class EpollEvent(ctypes.Structure):
    """struct epoll_event."""

    _pack_ = 1 if os.uname().machine == "x86_64" else 0  # as in sys/epoll.h: packed on x86-64 only
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


def epoll_create(size: int) -> int:
    """epoll_create(2), the old call with a size; the caller closes the returned descriptor."""
    return _checked(_libc.epoll_create(size))


def epoll_wait(epoll: int, events: "ctypes.Array[EpollEvent]", most: int, milliseconds: int) -> int:
    """epoll_wait(2) with maxevents `most`; return the number of events."""
    return _checked(_libc.epoll_wait(epoll, events, most, milliseconds))


def mprotect(address: int, size: int, protection: int) -> None:
    """mprotect(2): change the access rights of whole pages."""
    _checked(_libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), protection))


def _checked(found: int) -> int:
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return found
