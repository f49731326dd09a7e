"""All of FastCGI 1.0, both sides, without I/O: bytes in, events out, bytes out.

`ServerConnection` is the application's end (php-fpm's place), `ClientConnection` the web server's
end (nginx's place). `receive_data` takes bytes in any fragmentation, `next_event` returns events,
and every method that sends returns the bytes to send. Neither class opens a socket, so each can be
tested byte by byte and driven by any I/O model.

Stream content is passed on as it arrives, not collected into whole records. A connection therefore
holds at most one record header, one short record and the parameters.

Source: FastCGI Specification 1.0 (Mark R. Brown, Open Market, 1996). Section numbers in this
package refer to it.
"""

from chainlab.wire.fastcgi.client import (
    ClientConnection,
    EndRequest,
    Stderr,
    Stdout,
    Values,
    encode_ending,
    encode_start,
)
from chainlab.wire.fastcgi.pairs import decode_pairs, encode_pair, encode_pairs
from chainlab.wire.fastcgi.records import (
    CANT_MPX_CONN,
    MAX_CONNS,
    MAX_REQS,
    MPXS_CONNS,
    NEED_DATA,
    OVERLOADED,
    REQUEST_COMPLETE,
    UNKNOWN_ROLE,
    NeedData,
    ProtocolError,
)
from chainlab.wire.fastcgi.server import Abort, EndOfStdin, Request, ServerConnection, Stdin

__all__ = [
    "CANT_MPX_CONN",
    "MAX_CONNS",
    "MAX_REQS",
    "MPXS_CONNS",
    "NEED_DATA",
    "OVERLOADED",
    "REQUEST_COMPLETE",
    "UNKNOWN_ROLE",
    "Abort",
    "ClientConnection",
    "EndOfStdin",
    "EndRequest",
    "NeedData",
    "ProtocolError",
    "Request",
    "ServerConnection",
    "Stderr",
    "Stdin",
    "Stdout",
    "Values",
    "decode_pairs",
    "encode_ending",
    "encode_pair",
    "encode_pairs",
    "encode_start",
]
