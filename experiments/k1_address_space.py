"""K1: user and kernel share an address space, and a process cannot touch the kernel's part.

A child reads one byte of the kernel's half, and one of its own; both by an instruction, so nobody
but the processor's page tables says no. Then the kernel is asked to read its own half on our
behalf, which it refuses by EFAULT. Where the halves meet is found by asking mmap(2) for ever higher
addresses: a page is granted up to the end of the user's half and no further.
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
"""x86-64's kernel image without KASLR (Documentation/arch/x86/x86_64/mm.rst). Addresses that begin
with ones are the kernel's on every 64-bit Linux, wherever its image was moved to."""

LEAST_BITS: Final = 38
"""The smallest user half of a 64-bit Linux (RISC-V sv39); a 32-bit one has 3 GiB of 32 bits."""

_PRIVATE_ANONYMOUS: Final = 0x22
_FIXED_NOREPLACE: Final = 0x100000
_libc = ctypes.CDLL(None, use_errno=True)


def measure(_limits: Limits) -> Numbers:
    """Touch both halves, and find where they meet."""
    if platform.architecture()[0] != "64bit":
        raise NotHere("this Python is a 32-bit one", "run a 64-bit Python")
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
    """How a child ends that reads a byte there: the signal's name, or "exit 0"."""
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
    """What write(2) of a byte from there to a pipe says: "1 byte", or the error's name."""
    reader, writer = os.pipe()
    count = _libc.write(writer, ctypes.c_void_p(address), ctypes.c_size_t(1))
    found = "1 byte" if count == 1 else errno.errorcode[ctypes.get_errno()]
    os.close(reader)
    os.close(writer)
    return found


def _highest_mapping() -> int:
    """The end of the highest mapping of this process that is not the kernel's vsyscall page."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    own = [line for line in maps if "[vsyscall]" not in line]
    return max(int(line.split("-")[1].split()[0], 16) for line in own)


def _user_bits() -> int:
    """How many bits the addresses of the user's half have."""
    return max((bits for bits in range(LEAST_BITS, 64) if _granted((1 << bits) - _ROOM)), default=0)


_ROOM: Final = 4 * resource.getpagesize()  # x86-64 keeps the last page before the gap free


def _granted(address: int) -> bool:
    _libc.mmap.restype = ctypes.c_void_p
    size = ctypes.c_size_t(resource.getpagesize())
    wanted = ctypes.c_void_p(address)
    flags = _PRIVATE_ANONYMOUS | _FIXED_NOREPLACE
    found = _libc.mmap(wanted, size, 0, flags, -1, ctypes.c_long(0))
    if found in (None, ctypes.c_void_p(-1).value):
        return ctypes.get_errno() == errno.EEXIST  # something is there already: it is ours
    _libc.munmap(ctypes.c_void_p(found), size)
    return bool(found == address)


def judge(numbers: Numbers) -> list[Finding]:
    """The byte of the kernel's half is refused, that of our own is not; by both ways."""
    refused = numbers["read_kernel"] == "SIGSEGV" and numbers["write_from_kernel"] == "EFAULT"
    control = numbers["read_own"] == "exit 0" and numbers["write_from_own"] == "1 byte"
    if not control:
        why = f"reading a byte of its own ended the child with {numbers['read_own']}"
        return [Finding("K1", NOT_MEASURED, why)]
    bits = numbers["user_bits"]
    key = (
        f"reading {numbers['kernel_address']} ended the child with {numbers['read_kernel']}, "
        f"write(2) from there gave {numbers['write_from_kernel']}; "
        f"the highest mapping of this process ends at {numbers['highest_mapping']}"
    )
    scope = (
        f"The notes' 3 GiB and 1 GiB are the split of 32-bit Linux. Here addresses of the user's "
        f"half have {bits} bits: {size(bits)}."
    )
    return [Finding("K1", verdict(refused), key, scope)]


def size(bits: int) -> str:
    """Return 2 to that many bytes as a reader says it: 128 TiB."""
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    return f"{1 << bits % 10} {units[bits // 10]}"


EXPERIMENT = Experiment(
    claims={
        "K1": "User space and kernel space are separated; a user process cannot touch the kernel's "
        "part of the address space (on 32 bits: 3 GiB and 1 GiB)."
    },
    title="Two halves of an address space",
    method="A child reads a byte at a kernel address, another one of its own; write(2) is asked to "
    "read there on our behalf. mmap(2) is asked for ever higher pages until it refuses.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=15, cpu_seconds=10),
)
