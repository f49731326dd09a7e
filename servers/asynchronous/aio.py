"""POSIX AIO with ctypes (man aio(7)): glibc's structures, and five of its seven calls.

glibc implements the interface with threads: each operation in flight on a socket sleeps in read(2)
or write(2) in a thread. The thread count, set by aio_init, limits the operations in flight.
"""

import ctypes
import errno
import os
from collections.abc import Sequence
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_SIGEV_NONE: Final = 1


class _Sigevent(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("pad", ctypes.c_byte * 48),
    )


class _ControlBlock(ctypes.Structure):
    """struct aiocb of glibc on 64-bit Linux."""

    _fields_ = (
        ("fildes", ctypes.c_int),
        ("lio_opcode", ctypes.c_int),
        ("reqprio", ctypes.c_int),
        ("buf", ctypes.c_void_p),
        ("nbytes", ctypes.c_size_t),
        ("sigevent", _Sigevent),
        ("internal", ctypes.c_byte * 32),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_byte * 32),
    )


class _Init(ctypes.Structure):
    """struct aioinit of glibc."""

    _fields_ = tuple(
        (name, ctypes.c_int) for name in ["threads", "num", "a", "b", "c", "users", "idle", "d"]
    )


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Operation:
    """A read or write in flight; the object and its memory must live until it is done."""

    def __init__(self, fd: int, memory: ctypes.Array[ctypes.c_char], length: int) -> None:
        self.block = _ControlBlock()
        self.block.fildes = fd
        self.block.buf = ctypes.addressof(memory)
        self.block.nbytes = length
        self.block.sigevent.notify = _SIGEV_NONE
        self.memory = memory

    @classmethod
    def read(cls, fd: int, size: int) -> "Operation":
        """Start to read up to `size` bytes."""
        operation = cls(fd, ctypes.create_string_buffer(size), size)
        _check(_libc.aio_read(ctypes.byref(operation.block)))
        return operation

    @classmethod
    def write(cls, fd: int, data: bytes) -> "Operation":
        """Start to write `data`."""
        memory = ctypes.create_string_buffer(data, len(data))
        operation = cls(fd, memory, len(data))
        _check(_libc.aio_write(ctypes.byref(operation.block)))
        return operation

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return bool(_libc.aio_error(ctypes.byref(self.block)) != errno.EINPROGRESS)

    def finish(self) -> None:
        """Wait until it has ended."""
        while not self.done:
            suspend([self], 1.0)

    def result(self) -> int:
        """Return the number of bytes, or -1 on failure; call once, after it is done."""
        return int(_libc.aio_return(ctypes.byref(self.block)))

    def received(self, count: int) -> bytes:
        """Return the first `count` bytes read."""
        return bytes(memoryview(self.memory)[:count])


def use_threads(count: int) -> None:
    """Allow `count` operations in flight; call before the first one."""
    _libc.aio_init(ctypes.byref(_Init(threads=count, num=count, idle=1)))


def suspend(operations: Sequence[Operation], timeout: float) -> None:
    """Sleep until an operation is done, `timeout` seconds have passed, or a signal arrives."""
    pointers = (ctypes.c_void_p * len(operations))(
        *(ctypes.addressof(operation.block) for operation in operations)
    )
    limit = _Timespec(int(timeout), int(timeout % 1.0 * 1e9))
    if _libc.aio_suspend(pointers, len(operations), ctypes.byref(limit)):
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            raise OSError(code, os.strerror(code))


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
