"""One address of an upstream, and what one process knows about it."""

from abc import ABC, abstractmethod
from typing import Any, Final

from chainlab.transport import Address

_AVOID: Final = 1.0  # seconds to avoid a backend after a failed connect
_SHORT_LIVES: Final = 3  # connections in a row closed after one response: stop keeping them
_KEEP_AGAIN: Final = 60.0  # seconds until the pool tries to keep connections again


class PooledConnection(ABC):
    """A connection as its backend sees it."""

    __slots__ = ()

    @abstractmethod
    def start(self, exchange: Any, assigned_at: float) -> None:
        """Send the request of `exchange`; the pool chose this connection at `assigned_at`."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection now."""

    @abstractmethod
    def on_gone(self) -> None:
        """Close this idle or connecting connection: the backend's address has vanished."""


class Backend:
    """One address of an upstream, and its state."""

    __slots__ = (
        "address",
        "ask_after",
        "avoid_until",
        "connecting",
        "family",
        "gone",
        "idle",
        "keep_after",
        "known",
        "limit",
        "open",
        "short_lives",
        "sockaddr",
    )

    def __init__(self, address: Address, limit: int, *, known: bool) -> None:
        self.address = address
        self.family = address.family
        self.sockaddr = address.sockaddr
        self.limit = limit  # maximum connections
        self.known = known  # False while the limit is being queried; requests wait until then
        self.open = 0  # open connections, including idle ones
        self.idle: list[PooledConnection] = []
        self.connecting: set[PooledConnection] = set()
        self.gone = False  # the upstream no longer has this address
        self.avoid_until = 0.0
        self.ask_after = 0.0  # earliest time of the next FCGI_GET_VALUES
        self.short_lives = 0  # consecutive connections closed after their first response
        self.keep_after = 0.0  # no connection is reused before this time

    @property
    def free(self) -> bool:
        """True if the backend can take a request now."""
        return self.known and (bool(self.idle) or self.open < self.limit)

    @property
    def load(self) -> float:
        """Busy connections as a fraction of the limit."""
        return (self.open - len(self.idle)) / self.limit

    def note_failure(self, now: float) -> None:
        """Avoid this backend for a while, if there are others."""
        self.avoid_until = now + _AVOID

    def note_short_life(self, now: float) -> None:
        """Count a connection that the backend closed although asked to keep it, as uwsgi does.

        Reusing such a connection is a race with the close, and losing it fails a request.
        """
        self.short_lives += 1
        if self.short_lives >= _SHORT_LIVES:
            self.keep_after = now + _KEEP_AGAIN
