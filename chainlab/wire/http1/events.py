"""What `next_event` returns besides heads: pieces of a body, its end, and three states."""

from enum import Enum
from typing import Final

from chainlab.wire.http1.fields import Fields


class Data:
    """A piece of a message's content, without framing, in order of arrival."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"Data({self.data!r})"


class EndOfMessage:
    """The end of a message; `trailers` follow the last chunk (RFC 9112 section 7.1.2)."""

    __slots__ = ("trailers",)

    def __init__(self, trailers: Fields = ()) -> None:
        self.trailers = trailers

    def __repr__(self) -> str:
        return f"EndOfMessage({self.trailers!r})"


class State(Enum):
    """Why there is no event now."""

    NEED_DATA = "receive more bytes first"
    PAUSED = "the request is complete, its response is not; pipelined bytes wait"
    CLOSED = "the peer has closed; nothing more will arrive"


NEED_DATA: Final = State.NEED_DATA
PAUSED: Final = State.PAUSED
CLOSED: Final = State.CLOSED

END_OF_MESSAGE: Final = EndOfMessage()
"""The common end, without trailers: one shared object."""
