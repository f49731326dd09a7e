"""io_uring with raw system calls (man io_uring(7)): two rings in memory shared with the kernel.

Requests are written to the submission ring; one io_uring_enter(2) submits them all and waits.
Completions are read from the completion ring without a system call. Received data arrives in
buffers from a third ring, which the kernel takes only when data is there: a silent connection holds
no buffer.

For single-threaded use only: the system call is then the only memory barrier needed.
"""

import ctypes
import errno
import mmap
import os
import struct
from dataclasses import dataclass
from typing import Final

_SETUP, _ENTER, _REGISTER = 425, 426, 427  # system calls, the same numbers on all architectures
_OFFSET_SQES: Final = 0x10000000
_GETEVENTS, _EXT_ARG = 1, 8
_SETUP_CQSIZE, _SETUP_COOP_TASKRUN = 1 << 3, 1 << 8
_REGISTER_BUFFERS: Final = 22  # IORING_REGISTER_PBUF_RING, Linux 5.19

POLL_ADD, ACCEPT, CANCEL, SEND, RECV = 6, 13, 14, 26, 27
"""Operations."""

ACCEPT_MULTISHOT, RECV_MULTISHOT = 1, 2
"""One request with one completion per connection or piece of data (Linux 5.19, 6.0)."""

BUFFER_SELECT: Final = 1 << 5
"""Request flag: take a buffer of the ring."""

F_BUFFER, F_MORE = 1, 2
"""Completion flags: a buffer was used; the request stays active."""

_SQE: Final = struct.Struct("<BBHiQQIIQHHiQQ")
_CQE: Final = struct.Struct("<QiI")
_BUFFER: Final = struct.Struct("<QIH")
_PARAMS: Final = struct.Struct("<10I 8IQ 8IQ")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Completion:
    """The outcome of a request: `result` is the system call's result, or -errno."""

    token: int
    result: int
    flags: int


class Ring:
    """A submission and a completion ring of `entries`, and `buffers` of `size` bytes to receive in.

    OSError if the kernel lacks io_uring or forbids it (EPERM: seccomp, sysctl).
    """

    def __init__(self, entries: int = 1024, buffers: int = 256, size: int = 16384) -> None:
        params = ctypes.create_string_buffer(_PARAMS.size)
        flags = _SETUP_CQSIZE | _SETUP_COOP_TASKRUN
        struct.pack_into("<3I", params, 0, 0, 4 * entries, flags)
        self._fd = _call(_SETUP, entries, params)
        values = _PARAMS.unpack(params)
        (head, tail, mask, _, _, _, array, _, _) = values[10:19]
        (cq_head, cq_tail, cq_mask, _, _, cqes, _, _, _) = values[19:28]
        length = max(array + 4 * values[0], cqes + _CQE.size * values[1])
        self._rings = mmap.mmap(self._fd, length)
        self._sqes = mmap.mmap(self._fd, values[0] * _SQE.size, offset=_OFFSET_SQES)
        words = self._words = memoryview(self._rings).cast("I")
        self._tail, self._cq_head, self._cq_tail = tail // 4, cq_head // 4, cq_tail // 4
        self._mask, self._cq_mask = words[mask // 4], words[cq_mask // 4]
        self._cqes = cqes
        self._queued = 0  # prepared, not yet submitted
        for number in range(values[0]):
            words[array // 4 + number] = number
        assert words[head // 4] == 0
        self._timespec = ctypes.create_string_buffer(16)
        self._argument = ctypes.create_string_buffer(24)
        struct.pack_into("<QIIQ", self._argument, 0, 0, 0, 0, ctypes.addressof(self._timespec))
        self._register_buffers(buffers, size)

    def _register_buffers(self, count: int, size: int) -> None:
        self._size = size
        self._memory = mmap.mmap(-1, count * size)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._buffers = mmap.mmap(-1, count * 16)
        ring = ctypes.addressof(ctypes.c_char.from_buffer(self._buffers))
        self._buffer_mask = count - 1
        self._buffer_tail = 0
        description = ctypes.create_string_buffer(
            struct.pack("<QIHH3Q", ring, count, 0, 0, 0, 0, 0)
        )
        _call(_REGISTER, self._fd, _REGISTER_BUFFERS, description, 1)
        for number in range(count):
            self._provide(number)

    def prepare(
        self,
        operation: int,
        fd: int,
        token: int,
        *,
        address: int = 0,
        length: int = 0,
        flags: int = 0,
        mode: int = 0,
        options: int = 0,
    ) -> None:
        """Prepare a request; its completion carries `token`. `flush` submits it."""
        if self._queued > self._mask:
            self._enter(0, 0.0)
        tail = self._words[self._tail]
        _SQE.pack_into(
            self._sqes, (tail & self._mask) * _SQE.size,
            operation, flags, mode, fd, 0, address, length, options, token, 0, 0, 0, 0, 0,
        )  # fmt: skip
        self._words[self._tail] = (tail + 1) & 0xFFFFFFFF
        self._queued += 1

    def wait(self, timeout: float) -> list[Completion]:
        """Submit prepared requests, wait up to `timeout` seconds, return the completions."""
        head, tail = self._words[self._cq_head], self._words[self._cq_tail]
        if head == tail or self._queued:
            self._enter(1 if head == tail else 0, timeout)
            tail = self._words[self._cq_tail]
        found = []
        while head != tail:
            at = self._cqes + (head & self._cq_mask) * _CQE.size
            found.append(Completion(*_CQE.unpack_from(self._rings, at)))
            head = (head + 1) & 0xFFFFFFFF
        self._words[self._cq_head] = head
        return found

    def _enter(self, least: int, timeout: float) -> None:
        struct.pack_into("<qq", self._timespec, 0, int(timeout), int(timeout % 1.0 * 1e9))
        try:
            done = _call(
                _ENTER, self._fd, self._queued, least, _GETEVENTS | _EXT_ARG, self._argument, 24
            )
            self._queued -= done
        except OSError as error:
            if error.errno not in (errno.ETIME, errno.EINTR, errno.EBUSY):
                raise
            self._queued = 0 if error.errno == errno.ETIME else self._queued

    def take(self, completion: Completion) -> bytes:
        """Return the received data, and give the buffer back to the kernel."""
        if not completion.flags & F_BUFFER:
            return b""
        number = completion.flags >> 16
        begin = number * self._size
        data = self._memory[begin : begin + max(0, completion.result)]
        self._provide(number)
        return data

    def _provide(self, number: int) -> None:
        """Give buffer `number` to the kernel; the ring's tail overlays the first entry's end."""
        at = (self._buffer_tail & self._buffer_mask) * 16
        address = self._address + number * self._size
        _BUFFER.pack_into(self._buffers, at, address, self._size, number)
        self._buffer_tail = (self._buffer_tail + 1) & 0xFFFF
        struct.pack_into("<H", self._buffers, 14, self._buffer_tail)

    def close(self) -> None:
        """Close the ring; operations in flight end."""
        os.close(self._fd)


def address_of(data: bytes) -> int:
    """Return the address of the bytes; the object must live as long as the kernel reads it."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _call(number: int, *arguments: object) -> int:
    # Variadic: an int would be passed as 32 bits, with garbage in the upper half.
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments)]
    result: int = _libc.syscall(*words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
