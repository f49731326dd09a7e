"""K1: user and kernel share an address space, and a process cannot touch the kernel's part.

One child reads a byte of the kernel's half, another a byte of its own. Both use a plain load, so
only the processor's page tables can refuse it. Then write(2) is asked to read the kernel's half on
our behalf and fails with EFAULT. To find where the halves meet, mmap(2) is asked for higher and
higher addresses: it grants pages up to the end of the user half.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
from pathlib import Path
from typing import Final

from experiments.frame import NOT_MEASURED, Experiment, Finding, Limits, NotHere, Numbers, verdict

KERNEL_TEXT: Final = 0xFFFF_FFFF_8100_0000
"""The x86-64 kernel image without KASLR (Documentation/arch/x86/x86_64/mm.rst). On every 64-bit
Linux, addresses with the top bits set are the kernel's, even if the image itself has moved."""

LEAST_BITS: Final = 38
"""Bits of the smallest 64-bit user half (RISC-V sv39); 32-bit Linux has 3 GiB of its 4 GiB."""

_PRIVATE_ANONYMOUS: Final = 0x22
_FIXED_NOREPLACE: Final = 0x100000
_libc = ctypes.CDLL(None, use_errno=True)


def measure(_limits: Limits) -> Numbers:
    """Touch both halves and find where they meet."""
    if platform.architecture()[0] != "64bit":
        raise NotHere("this Python is 32-bit", "run a 64-bit Python")
    own = ctypes.create_string_buffer(b"x")
    return {
        "kernel_address": hex(KERNEL_TEXT),
        "read_kernel": _ended(KERNEL_TEXT),
        "read_own": _ended(ctypes.addressof(own)),
        "write_from_kernel": _write_from(KERNEL_TEXT),
        "write_from_own": _write_from(ctypes.addressof(own)),
        "highest_mapping": hex(_highest_mapping()),
        "user_bits": _user_bits(),
    }


def _ended(address: int) -> str:
    """Read a byte there in a child; return how it ended: the signal's name, or "exit 0"."""
    child = os.fork()
    if child == 0:
        try:
            ctypes.string_at(address, 1)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit {os.waitstatus_to_exitcode(status)}"


def _write_from(address: int) -> str:
    """write(2) a byte from there to a pipe; return "1 byte", or the error's name."""
    reader, writer = os.pipe()
    count = _libc.write(writer, ctypes.c_void_p(address), ctypes.c_size_t(1))
    found = "1 byte" if count == 1 else errno.errorcode[ctypes.get_errno()]
    os.close(reader)
    os.close(writer)
    return found


def _highest_mapping() -> int:
    """Return the end of this process's highest mapping, without the kernel's vsyscall page."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    own = [line for line in maps if "[vsyscall]" not in line]
    return max(int(line.split("-")[1].split()[0], 16) for line in own)


def _user_bits() -> int:
    """Return how many address bits the user half has."""
    return max((bits for bits in range(LEAST_BITS, 64) if _granted((1 << bits) - _ROOM)), default=0)


_ROOM: Final = 4 * resource.getpagesize()  # x86-64 leaves the last page of the user half unmapped


def _granted(address: int) -> bool:
    _libc.mmap.restype = ctypes.c_void_p
    size = ctypes.c_size_t(resource.getpagesize())
    wanted = ctypes.c_void_p(address)
    flags = _PRIVATE_ANONYMOUS | _FIXED_NOREPLACE
    found = _libc.mmap(wanted, size, 0, flags, -1, ctypes.c_long(0))
    if found in (None, ctypes.c_void_p(-1).value):
        return ctypes.get_errno() == errno.EEXIST  # already mapped, so part of the user half
    _libc.munmap(ctypes.c_void_p(found), size)
    return bool(found == address)


def judge(numbers: Numbers) -> list[Finding]:
    """Both ways must refuse the kernel's byte and allow our own."""
    refused = numbers["read_kernel"] == "SIGSEGV" and numbers["write_from_kernel"] == "EFAULT"
    control = numbers["read_own"] == "exit 0" and numbers["write_from_own"] == "1 byte"
    if not control:
        why = f"a child that read a byte of its own memory ended with {numbers['read_own']}"
        return [Finding("K1", NOT_MEASURED, why)]
    bits = numbers["user_bits"]
    key = (
        f"reading {numbers['kernel_address']} ended the child with {numbers['read_kernel']}; "
        f"write(2) from that address gave {numbers['write_from_kernel']}; "
        f"this process's highest mapping ends at {numbers['highest_mapping']}"
    )
    scope = (
        f"The notes' 3 GiB and 1 GiB are the split of 32-bit Linux. Here the user half has "
        f"{bits} address bits: {size(bits)}."
    )
    return [Finding("K1", verdict(refused), key, scope)]


def size(bits: int) -> str:
    """Return 2**bits bytes with a unit, such as 128 TiB."""
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    return f"{1 << bits % 10} {units[bits // 10]}"


EXPERIMENT = Experiment(
    claims={
        "K1": "User space and kernel space are separate: a user process cannot touch the kernel's "
        "part of the address space (on 32 bits: 3 GiB and 1 GiB)."
    },
    title="The two halves of the address space",
    method="One child reads a byte at a kernel address, another a byte of its own memory; write(2) "
    "is asked to read both addresses. mmap(2) is asked for higher and higher pages until it "
    "refuses.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=15, cpu_seconds=10),
)
