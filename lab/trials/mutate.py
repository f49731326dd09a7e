"""Mutations of valid bytes, from a seed: the same seed gives the same bytes."""

import random
from collections.abc import Sequence
from typing import Final

_TOKENS: Final = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"\r\n\r\n", b"0\r\n\r\n", b"-1",
    b"18446744073709551616", b"chunked", b"Content-Length: 5\r\n", b"HTTP/1.0", b"HTTP/9.9",
    b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
    b"ffffffff", b"%00", b"\xff", b"\xff\xff\xff\xff", b"bytes=0-0,-1", b"Status: 999\r\n",
    b"\x01\x01\x00\x01\x00\x08\x00\x00", b"\x01\x03\x00\x01\x00\x08",
    b"\x01\x02\x00\x01\x00\x00\x00\x00",
)  # fmt: skip
_MOST: Final = 4  # changes to one message


class Mutator:
    """Draws messages from `corpus`, each a few changes away from one of them or from two."""

    def __init__(self, corpus: Sequence[bytes], seed: int) -> None:
        self.chance = random.Random(seed)
        self._corpus = corpus

    def draw(self) -> bytes:
        """Return the next message; it is never empty."""
        data = bytearray(self.chance.choice(self._corpus))
        for _ in range(self.chance.randint(1, _MOST)):
            self._change(data)
        return bytes(data) or b"\0"

    def _change(self, data: bytearray) -> None:
        chance = self.chance
        at = self._place(data)
        end = at + chance.choice((1, 1, 2, 4, 8, chance.randint(1, 64), len(data)))
        match chance.randrange(8):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([data[at] ^ 1 << chance.randrange(8)]) if data else b"x"
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end] * chance.choice((1, 1, 2, 30))
            case 4 | 5:
                data[at:at] = chance.choice(_TOKENS)
            case 6:
                data[at:end] = chance.choice(_TOKENS)
            case _:
                other = chance.choice(self._corpus)
                data[at:] = other[chance.randrange(len(other)) :]

    def _place(self, data: bytearray) -> int:
        """Return an index, more often in the first bytes, where the structure is."""
        most = len(data) if self.chance.random() < 0.5 else min(len(data), 200)
        return self.chance.randrange(most) if most else 0
