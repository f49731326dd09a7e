"""What a client connection expects of whatever serves its request."""

from abc import ABC, abstractmethod

from chainlab.wire.http1 import RequestHead


class Exchange(ABC):
    """One request in flight, as its client sees it."""

    __slots__ = ()

    head: RequestHead

    @property
    @abstractmethod
    def body_full(self) -> bool:
        """True if the client must stop sending body bytes for now."""

    @abstractmethod
    def on_body(self, data: bytes) -> None:
        """Handle a piece of the request body."""

    @abstractmethod
    def on_body_end(self) -> None:
        """Handle the end of the request."""

    @abstractmethod
    def on_input_pause(self) -> None:
        """Handle the end of one read: no more body bytes until the next read."""

    @abstractmethod
    def on_drained(self) -> None:
        """Resume: the socket has accepted everything sent so far."""

    @abstractmethod
    def abandon(self, status: int) -> None:
        """Release all resources and log `status`; send the client nothing more."""
