"""A cache of parsed heads, keyed by their bytes.

Clients repeat themselves: a browser or a load generator sends the same head, byte for byte, with
every request of a connection. One dictionary lookup replaces the parse (0.3 µs instead of 10 in
CPython). The memo holds at most 1,024 heads of at most 2 KiB. A full memo is cleared, which costs
each frequent head one more parse.
"""

from typing import Final, Generic, TypeVar

Head = TypeVar("Head")

_ENTRIES: Final = 1024
_LONGEST: Final = 2048


class Memo(dict[bytes, Head], Generic[Head]):
    """A bounded dictionary from a head's bytes to the parsed head."""

    __slots__ = ()

    def keep(self, raw: bytes, head: Head) -> None:
        """Store `head`, unless `raw` is too long."""
        if len(raw) > _LONGEST:
            return
        if len(self) >= _ENTRIES:
            self.clear()
        self[raw] = head
