"""A nonblocking socket in the loop: what client and upstream connections have in common.

Every send goes straight to the socket; what the socket rejects is the subclass's to queue. Closing
takes effect at the end of the batch (`Loop.close`) and may be repeated.
"""

import socket
from abc import ABC, abstractmethod
from typing import Final

from gateway.loop import NEVER, Loop

RECEIVE: Final = 65536
"""Bytes read at once."""


class Stream(ABC):
    """A connected or connecting socket, its events and its deadline."""

    __slots__ = ("_interest", "_loop", "_sock", "closed", "deadline")

    def __init__(self, loop: Loop, sock: socket.socket, interest: int) -> None:
        self._loop = loop
        self._sock = sock
        self._interest = interest
        self.closed = False
        self.deadline = NEVER
        loop.register(sock, interest, self.on_event)
        loop.watch(self)

    @abstractmethod
    def on_event(self, mask: int) -> None:
        """Handle epoll events."""

    @abstractmethod
    def on_deadline(self) -> None:
        """Handle the end of the wait that `deadline` limits."""

    def _set_interest(self, interest: int) -> None:
        """Watch these events from now on."""
        if interest != self._interest and not self.closed:
            self._interest = interest
            self._loop.modify(self._sock, interest)

    def close(self) -> None:
        """Close the connection now."""
        if self.closed:
            return
        self.closed = True
        self._loop.close(self._sock)
        self._loop.forget(self)
        self._on_closed()

    @abstractmethod
    def _on_closed(self) -> None:
        """Release what belongs to the connection."""
