"""Two kinds of HTTP errors: ours and the peer's.

A peer's error carries the status to answer with, so the code that owns the socket catches it in one
place and needs no table of statuses.
"""


class ProtocolError(Exception):
    """A violation of HTTP/1.1; see the two kinds below."""


class LocalProtocolError(ProtocolError):
    """The caller broke the rules: a bug on our side; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules: `status` to answer with, `reason` in one line for the log.

    A server may then send one response and must close the connection: any further bytes might be a
    smuggled request.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
