"""The two roles on either side of a response: what serves a request, and what takes its response.

A client connection expects an `Exchange` of whatever serves its request. An exchange writes to a
`ResponseSink`: the client connection, or a chain of response filters before it, each of which
changes what passes (fields, content) and hands it to the next.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from chainlab.wire.http1 import RequestHead, ResponseHead


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


class ResponseSink(ABC):
    """Takes the response of one request at a time. `extra` holds encoded field lines."""

    __slots__ = ()

    @abstractmethod
    def respond(self, head: ResponseHead, data: bytes, extra: bytes) -> None:
        """Send a whole response.

        LocalProtocolError, and nothing sent: the content is shorter than Content-Length.
        """

    @abstractmethod
    def begin_response(self, head: ResponseHead, data: bytes, extra: bytes, *, spool: int) -> None:
        """Send the head and the first content of a response that `more` continues.

        Up to `spool` bytes that the client does not accept yet may go to a temporary file.
        """

    @abstractmethod
    def more(self, data: bytes, *, complete: bool) -> None:
        """Send more content; LocalProtocolError if it ends before its Content-Length."""

    @abstractmethod
    def refuse(
        self,
        status: int,
        head: RequestHead | None,
        why: str = "",
        *,
        extra: bytes = b"",
        log: Callable[[int, int], None] | None = None,
    ) -> None:
        """Send an error response of the gateway's own, and log it or call `log(status, size)`."""


class ResponseFilter(ResponseSink):
    """A sink that passes everything on; subclasses change some of it."""

    __slots__ = ("_next",)

    def __init__(self, following: ResponseSink) -> None:
        self._next = following

    def respond(self, head: ResponseHead, data: bytes, extra: bytes) -> None:
        """Pass on a whole response."""
        self._next.respond(head, data, extra)

    def begin_response(self, head: ResponseHead, data: bytes, extra: bytes, *, spool: int) -> None:
        """Pass on the begin of a response."""
        self._next.begin_response(head, data, extra, spool=spool)

    def more(self, data: bytes, *, complete: bool) -> None:
        """Pass on more content."""
        self._next.more(data, complete=complete)

    def refuse(
        self,
        status: int,
        head: RequestHead | None,
        why: str = "",
        *,
        extra: bytes = b"",
        log: Callable[[int, int], None] | None = None,
    ) -> None:
        """Pass on an error response."""
        self._next.refuse(status, head, why, extra=extra, log=log)
