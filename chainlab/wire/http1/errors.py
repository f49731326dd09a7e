"""Two ways to break HTTP: ours and the peer's.

The peer's mistake carries the status to answer it with, so that whoever owns the socket catches
it once, at the boundary, and needs no table of its own.
"""


class ProtocolError(Exception):
    """HTTP/1.1 was broken; see the two kinds below."""


class LocalProtocolError(ProtocolError):
    """The caller broke the rules: a bug on our side, nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules: `status` to answer with, `reason` in one line for the log.

    After it the connection takes one answer more (server side) and is then to be closed: what
    follows on it cannot be told apart from a smuggled request.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
