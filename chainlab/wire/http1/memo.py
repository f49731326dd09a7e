"""Heads seen before are not parsed again.

Clients repeat themselves: a browser or a load generator sends the same head, byte for byte, on
every request of a connection. One dictionary lookup on the bytes replaces the parse (0.3 µs
instead of 10 in CPython). Bounded: heads of at most 2 KiB, at most 1,024 of them; a full memo is
emptied, which costs the regulars one parse each.
"""

from typing import Final, Generic, TypeVar

Head = TypeVar("Head")

_ENTRIES: Final = 1024
_LONGEST: Final = 2048


class Memo(dict[bytes, Head], Generic[Head]):
    """A bounded dictionary from a head's bytes to the parsed head."""

    __slots__ = ()

    def keep(self, raw: bytes, head: Head) -> None:
        """Remember `head`, unless its bytes are long."""
        if len(raw) > _LONGEST:
            return
        if len(self) >= _ENTRIES:
            self.clear()
        self[raw] = head
