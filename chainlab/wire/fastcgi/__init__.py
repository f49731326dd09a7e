"""FastCGI 1.0, whole, both sides, without I/O: bytes in, events out, bytes out.

`ServerConnection` is the application's end (php-fpm's place), `ClientConnection` the web
server's end (nginx's place). Both take bytes in any fragmentation with `receive_data`, give
events with `next_event` and return the bytes to send from the calls that make them; neither
opens a socket, so that each can be tested byte by byte and driven by any I/O model.

A stream's content is handed on as it arrives, never gathered into a record first: what a
connection holds is bounded by one record header, one short record and the parameters.

Source: FastCGI Specification 1.0 (Mark R. Brown, Open Market, 1996). Section numbers in this
package are its own.
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
