"""A nonblocking socket in the loop: what client and upstream connections have in common.

Every send goes straight to the socket; what the socket rejects waits in a queue. Closing takes
effect at the end of the batch (`Loop.close`) and may be repeated.
"""

import os
import socket
from abc import ABC, abstractmethod
from typing import Final

from gateway.loop import NEVER, Loop
from gateway.outbox import Outbox
from gateway.spool import SpoolSpace

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


class QueuedStream(Stream):
    """A stream that queues what the socket does not accept, in memory and then in a file."""

    __slots__ = ("_broken", "_out", "_since", "_stuck")

    def __init__(
        self, loop: Loop, sock: socket.socket, interest: int, spool_space: SpoolSpace
    ) -> None:
        super().__init__(loop, sock, interest)
        self._out = Outbox(spool_space)
        self._broken = False  # a send failed: `_gone` runs after this batch
        self._stuck = False  # the last send was partial: wait for WRITE
        self._since = loop.now  # when the current wait last made progress

    @property
    def over_high(self) -> bool:
        """True if so many bytes are unsent that the upstream should pause."""
        return self._out.full

    @property
    def waiting(self) -> bool:
        """True if response bytes are waiting for the socket."""
        return bool(self._out.memory)

    def send(self, data: bytes) -> None:
        """Send `data`; queue what the socket does not accept now."""
        if self._out.memory:
            self._out.append(data)
            return
        if self._broken or self.closed:
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._break()
            return
        if sent < len(data):
            self._out.append(data[sent:])
            self.wait_until_writable()

    def sendfile(self, fd: int, offset: int, count: int) -> int | None:
        """Send from `fd` with sendfile(2); return the bytes sent, None if the socket is full."""
        if self._out.memory or self._broken:
            return None
        try:
            return os.sendfile(self._sock.fileno(), fd, offset, count)
        except BlockingIOError:
            return None
        except OSError:
            self._break()
            return None

    def _break(self) -> None:
        """Give up on the socket after this batch: the caller still works on the exchange."""
        if not self._broken:
            self._broken = True
            self._loop.soon(self._gone)

    def wait_until_writable(self) -> None:
        """Call `_on_flushed` once the socket has accepted everything."""
        self._stuck = True
        self._since = self._loop.now
        self._settle()

    def _flush(self) -> None:
        while self._out.memory:
            try:
                sent = self._sock.send(self._out.front())
            except BlockingIOError:
                break
            except OSError:
                self._gone()
                return
            self._out.drop(sent)
            self._since = self._loop.now
        if not self._out.memory:
            self._stuck = False
            self._on_flushed()
        self._settle()

    @abstractmethod
    def _settle(self) -> None:
        """Set the limit on the current wait, and the events to watch."""

    @abstractmethod
    def _on_flushed(self) -> None:
        """Continue: the socket has accepted everything."""

    @abstractmethod
    def _gone(self) -> None:
        """End: the peer takes nothing any more."""
