"""HTTP/1.1 from scratch, both sides, without I/O: bytes in, events out, bytes out.

`ServerConnection` reads requests and writes responses, `ClientConnection` the reverse. Input that
two parsers could read differently is rejected, so a gateway built on this package cannot be abused
for request smuggling.

Sources: RFC 9110 (semantics) and RFC 9112 (HTTP/1.1).
"""

from chainlab.wire.http1.client import ClientConnection
from chainlab.wire.http1.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from chainlab.wire.http1.events import CLOSED, NEED_DATA, PAUSED, Data, EndOfMessage, State
from chainlab.wire.http1.fields import Fields
from chainlab.wire.http1.limits import Limits
from chainlab.wire.http1.request import RequestHead
from chainlab.wire.http1.response import ResponseHead, reason_phrase
from chainlab.wire.http1.server import ServerConnection

__all__ = [
    "CLOSED",
    "NEED_DATA",
    "PAUSED",
    "ClientConnection",
    "Data",
    "EndOfMessage",
    "Fields",
    "Limits",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "RequestHead",
    "ResponseHead",
    "ServerConnection",
    "State",
    "reason_phrase",
]
