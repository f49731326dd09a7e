"""Name-value pairs, the encoding of parameters and management variables (section 3.4).

A pair is two lengths and two strings. A length under 128 takes one byte; a longer one takes four,
with the top bit set. Pairs continue across records and may be split anywhere, so the reader takes
the complete ones and returns how many bytes they used. Names and values are decoded as Latin-1, one
character per byte, as PEP 3333 requires of an environ. Decoding the block once and slicing it costs
half as much as decoding each string.

Web servers repeat themselves: the parameters of two requests for a page differ in a port number or
a request id, or not at all. `read_repeated_pairs` caches the blocks it has read, one per record; a
hit costs a hash of the bytes, a tenth of parsing them.
"""

import functools
from collections.abc import Iterable
from typing import Final

from chainlab.wire.fastcgi.records import ProtocolError

_LONG: Final = 0x80  # marks a four-byte length: the top bit of its first byte

_REMEMBERED_BLOCKS: Final = 512
_REMEMBERED_BYTES: Final = 4096  # longer blocks are not cached, so the cache holds at most 2 MiB


def _encode_length(length: int) -> bytes:
    if length < _LONG:
        return bytes((length,))
    if length > 0x7FFFFFFF:
        raise ProtocolError(f"a name or value of {length} bytes: its length exceeds 31 bits")
    return (length | 0x80000000).to_bytes(4, "big")


def encode_pair(name: bytes, value: bytes) -> bytes:
    """Return one encoded pair."""
    return _encode_length(len(name)) + _encode_length(len(value)) + name + value


def encode_pairs(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the encoded pairs, concatenated."""
    return b"".join(encode_pair(name, value) for name, value in pairs)


def read_pairs(block: bytes, into: dict[str, str], limit: int) -> int:
    """Add every complete pair of `block` to `into`; return how many bytes they took.

    An incomplete pair is left for the next call. If its lengths claim more than `limit` bytes,
    ProtocolError is raised without waiting for the rest.
    """
    text = block.decode("latin-1")
    at, end = 0, len(block)
    try:
        while at < end:
            name_length = block[at]
            value_length = block[at + 1]
            if name_length | value_length < _LONG:
                name_at = at + 2
            else:
                name_length, value_length, name_at = _read_long_lengths(block, at)
            value_at = name_at + name_length
            next_at = value_at + value_length
            if next_at > end:
                if next_at - at > limit:
                    raise ProtocolError(f"a name-value pair of {next_at - at} bytes")
                break
            into[text[name_at:value_at]] = text[value_at:next_at]
            at = next_at
    except IndexError:  # the lengths are incomplete
        pass
    return at


@functools.lru_cache(_REMEMBERED_BLOCKS)
def _remember(block: bytes, limit: int) -> tuple[dict[str, str], int]:
    pairs: dict[str, str] = {}
    return pairs, read_pairs(block, pairs, limit)


def read_repeated_pairs(block: bytes, into: dict[str, str], limit: int) -> int:
    """Do the same as read_pairs, faster for a block seen before."""
    if len(block) > _REMEMBERED_BYTES:
        return read_pairs(block, into, limit)
    pairs, taken = _remember(block, limit)
    into.update(pairs)
    return taken


def _read_long_lengths(block: bytes, at: int) -> tuple[int, int, int]:
    """Return name length, value length and start of the name; IndexError if incomplete."""
    lengths = []
    for _ in range(2):
        if block[at] < _LONG:
            lengths.append(block[at])
            at += 1
        else:
            block[at + 3]  # IndexError unless all four bytes are here
            lengths.append(int.from_bytes(block[at : at + 4], "big") & 0x7FFFFFFF)
            at += 4
    return lengths[0], lengths[1], at


def decode_pairs(block: bytes) -> dict[str, str]:
    """Return the pairs of a complete block; ProtocolError if it ends inside a pair."""
    pairs: dict[str, str] = {}
    if read_pairs(block, pairs, limit=1 << 31) != len(block):
        raise ProtocolError("a name-value pair is cut off")
    return pairs
