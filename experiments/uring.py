"""A minimal io_uring (man io_uring(7)): submit reads, and see completions without a system call.

Raw system calls through ctypes, and two rings in memory shared with the kernel. For one thread.
"""

import ctypes
import errno
import mmap
import os
import struct
from typing import Final

from experiments.frame import NotHere

_SETUP, _ENTER = 425, 426  # the same numbers on all architectures
_OFFSET_SQES: Final = 0x10000000
_RECV: Final = 27
_SQE: Final = struct.Struct("<BBHiQQIIQHHiQQ")
_CQE: Final = struct.Struct("<QiI")
_PARAMS: Final = struct.Struct("<10I 8IQ 8IQ")
_libc = ctypes.CDLL(None, use_errno=True)


class Ring:
    """Rings of `entries`; NotHere if the kernel lacks or forbids io_uring."""

    def __init__(self, entries: int = 8) -> None:
        params = ctypes.create_string_buffer(_PARAMS.size)
        try:
            self._fd = _call(_SETUP, entries, params)
        except OSError as error:
            raise NotHere(*_lack(error)) from None
        values = _PARAMS.unpack(params)
        _, tail, mask, _, _, _, array, _, _ = values[10:19]
        head, done, done_mask, _, _, cqes, _, _, _ = values[19:28]
        length = max(array + 4 * values[0], cqes + _CQE.size * values[1])
        self._rings = mmap.mmap(self._fd, length)
        self._sqes = mmap.mmap(self._fd, values[0] * _SQE.size, offset=_OFFSET_SQES)
        self._words = memoryview(self._rings).cast("I")
        self._tail, self._head, self._done = tail // 4, head // 4, done // 4
        self._mask, self._done_mask, self._cqes = self._words[mask // 4], done_mask // 4, cqes
        for number in range(values[0]):
            self._words[array // 4 + number] = number

    def receive(self, fd: int, buffer: bytearray) -> None:
        """Submit a receive with one system call; `buffer` must live until it completes."""
        tail = self._words[self._tail]
        address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        _SQE.pack_into(
            self._sqes, (tail & self._mask) * _SQE.size,
            _RECV, 0, 0, fd, 0, address, len(buffer), 0, 0, 0, 0, 0, 0, 0,
        )  # fmt: skip
        self._words[self._tail] = tail + 1
        _call(_ENTER, self._fd, 1, 0, 0, None, 0)

    def look(self) -> int | None:
        """Return the result of a completed read, as recv(2) would, else None; no system call."""
        head = self._words[self._head]
        if head == self._words[self._done]:
            return None
        at = self._cqes + (head & self._words[self._done_mask]) * _CQE.size
        result: int = _CQE.unpack_from(self._rings, at)[1]
        self._words[self._head] = head + 1
        return result

    def close(self) -> None:
        """Free the rings."""
        self._words.release()
        self._sqes.close()
        self._rings.close()
        os.close(self._fd)


def _call(number: int, *arguments: object) -> int:
    # syscall(2) is variadic: ctypes would pass an int in 32 bits, leaving the upper half undefined.
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments)]
    result: int = _libc.syscall(*words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _lack(error: OSError) -> tuple[str, str]:
    if error.errno == errno.ENOSYS:
        return "this kernel has no io_uring", "use Linux 5.6 or newer"
    if error.errno == errno.EPERM:
        return (
            "io_uring is forbidden here (EPERM)",
            "see /proc/sys/kernel/io_uring_disabled; in a container, docker/seccomp-io-uring.json",
        )
    return f"io_uring_setup failed: {error}", ""
