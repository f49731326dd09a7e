"""An in-kernel packet filter for the capture: TCP from or to given ports, over IPv4 and IPv6.

It is a classic BPF program (Linux: Documentation/networking/filter.rst), equivalent to that of
`tcpdump -d tcp port N`. Without it every frame on the machine would wake the capture, and load on
another port could keep it from ever finishing.
"""

import ctypes
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Final

SO_ATTACH_FILTER: Final = 26

_LOAD_HALF, _LOAD_BYTE = 0x28, 0x30  # A = packet[k]
_LOAD_HALF_BEHIND = 0x48  # A = packet[X + k]
_HEADER_LENGTH = 0xB1  # X = 4 * (packet[k] & 15), the length of the IPv4 header
_IF_EQUAL = 0x15
_RETURN = 0x06

_ETHERNET: Final = 14
_IPV4, _IPV6, _TCP = 0x0800, 0x86DD, 6
_WHOLE: Final = 1 << 18

Instruction = tuple[int, str, str, int]
"""Operation, label if equal, label if not equal, operand; label "" is the next instruction."""


def attach(raw: socket.socket, ports: Sequence[int]) -> None:
    """Make `raw`, an AF_PACKET socket, receive only TCP segments from or to `ports`."""
    program = assemble(ports)
    buffer = ctypes.create_string_buffer(program, len(program))
    count = len(program) // 8
    filter_program = struct.pack("HP", count, ctypes.addressof(buffer))
    raw.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_program)


def assemble(ports: Sequence[int]) -> bytes:
    """Return the filter in the kernel's format, eight bytes per instruction."""
    blocks: dict[str, list[Instruction]] = {
        "kind": [
            (_LOAD_HALF, "", "", 12),
            (_IF_EQUAL, "ipv4", "", _IPV4),
            (_IF_EQUAL, "ipv6", "drop", _IPV6),
        ],
        "ipv4": [
            (_LOAD_BYTE, "", "", _ETHERNET + 9),
            (_IF_EQUAL, "", "drop", _TCP),
            (_HEADER_LENGTH, "", "", _ETHERNET),
            *_either(_LOAD_HALF_BEHIND, _ETHERNET, ports),
        ],
        "ipv6": [
            (_LOAD_BYTE, "", "", _ETHERNET + 6),
            (_IF_EQUAL, "", "drop", _TCP),
            *_either(_LOAD_HALF, _ETHERNET + 40, ports),
        ],
        "drop": [(_RETURN, "", "", 0)],
        "take": [(_RETURN, "", "", _WHOLE)],
    }
    places, at = {"": 0}, 0
    for label, block in blocks.items():
        places[label] = at
        at += len(block)
    program = [instruction for block in blocks.values() for instruction in block]
    return b"".join(
        struct.pack(
            "HBBI", code, *(places[to] - here - 1 if to else 0 for to in (yes, no)), operand
        )
        for here, (code, yes, no, operand) in enumerate(program)
    )


def _either(load: int, at: int, ports: Iterable[int]) -> Iterable[Instruction]:
    """Test both ports of the TCP header at `at`; if neither matches, drop the frame."""
    for place in (at, at + 2):
        yield load, "", "", place
        for port in ports:
            yield _IF_EQUAL, "take", "", port
    yield _RETURN, "", "", 0
