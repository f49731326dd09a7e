"""Translates an HTTP request for an upstream: CGI/1.1 parameters, or HTTP header fields.

The parameters cover RFC 3875 section 4.1 and what nginx and php-fpm users expect. Dropped on
purpose:

- HTTP_PROXY, which CGI programs mistake for their proxy setting (httpoxy, CVE-2016-5385);
- names with an underscore, because `X_Y` and `X-Y` map to the same variable, in the gateway or in
  the WSGI or CGI program behind an HTTP upstream;
- hop-by-hop fields (RFC 9110 section 7.6.1) and the fields that Connection lists;
- fields that the gateway sets itself (X-Forwarded-For and the like, X-Request-Id), so that no
  client can forge them; `forwarded` says what a trusted front end may set.

The result depends only on the head and the two ends of the connection. It is encoded once per
(head, peer, upstream) and cached with the head: a repeated request needs no encoding.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from chainlab.transport.networks import NOBODY, Networks, plain_ip
from chainlab.wire.fastcgi import encode_pairs, encode_start
from chainlab.wire.http1 import Fields, RequestHead, ResponseHead
from chainlab.wire.http1.fields import values
from chainlab.wire.trace_context import TraceContext, parse_traceparent
from gateway.config import Timeouts, Upstream
from gateway.forwarded import OTHERS, PREFIX, Origin, find_origin
from gateway.logs import LogHead

HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_OURS: Final = OTHERS | {b"x-request-id"}
_NEVER_HTTP: Final = frozenset((b"proxy", b"content-length", b"content-type", b"host", b"expect"))
_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_STANDARD: Final = Timeouts()
REQUEST_ID: Final = (b"HTTP_X_REQUEST_ID", 24)
"""The parameter and the length of a generated id: 16 random hex digits and an 8-digit counter."""
SOFTWARE: Final = b"chain-gateway"


class Peer:
    """Both ends of a client connection, as parameters; connections with equal ends share one."""

    __slots__ = ("local", "local_port", "remote")

    def __init__(self, remote: str, local: str, local_port: int) -> None:
        self.remote = plain_ip(remote)  # an IP address; "unix:" for a unix socket
        self.local = plain_ip(local)
        self.local_port = local_port


class RequestPlan:
    """How to serve a given head from a given peer: the handler, and the upstream's parameters."""

    __slots__ = (
        "begin",
        "body_limit",
        "fields",
        "generation",
        "log",
        "origin",
        "params",
        "path",
        "peer",
        "request_id",
        "start",
        "target",
        "timeouts",
        "trace",
    )

    def __init__(
        self,
        head: RequestHead,
        peer: Peer,
        generation: int,
        upstream: Upstream | None = None,
        *,
        traced: bool = False,
        timed: bool = False,
        trusted: Networks = NOBODY,
    ) -> None:
        self.peer = peer
        self.generation = generation  # number of the configuration that made this plan
        self.path = ""  # decoded, without dot segments; set only if the gateway itself answers
        self.begin: Any = None  # the handler: begin(client, head, plan)
        self.timeouts = _STANDARD  # the route's
        self.body_limit: int | None = None  # the route's; None: that of the connection
        self.origin = find_origin(head, peer.remote, peer.local, peer.local_port, trusted)
        self.log = LogHead(head, self.origin.remote)
        given = head.get(b"x-request-id")
        self.request_id = given if given and _REQUEST_ID.fullmatch(given) else None
        self.trace = read_trace(head) if traced else None
        self.params = b""
        self.start = b""  # the records that carry the parameters
        self.fields: Fields = ()
        self.target = b""
        if upstream is None:
            return
        ours = _OURS
        if traced:  # tracestate is meaningless without the trace it belongs to
            ours |= {b"traceparent"} if self.trace else {b"traceparent", b"tracestate"}
        if timed:
            ours |= {b"x-request-start"}
        if upstream.protocol == "fastcgi":
            self.params = encode_pairs(make_params(head, self.origin, upstream, ours).items())
            self.start = encode_start(self.params)
        else:
            self.target = uri_of(head)
            self.fields = tuple(make_fields(head, self.origin, ours))


def read_trace(head: RequestHead) -> TraceContext | None:
    """Return the client's trace; None unless there is exactly one valid traceparent field."""
    found = values(head.fields, b"traceparent")
    return parse_traceparent(found[0]) if len(found) == 1 else None


def uri_of(head: RequestHead) -> bytes:
    """Return path and query as the client sent them, an empty query too."""
    return head.path + (b"?" + head.query if head.query or head.target.endswith(b"?") else b"")


def make_params(
    head: RequestHead, origin: Origin, upstream: Upstream, ours: frozenset[bytes] = _OURS
) -> dict[bytes, bytes]:
    """Return a request's parameters, except those that vary per request (port, request id).

    `ours` names the fields that only the gateway may set.
    """
    params = {
        b"GATEWAY_INTERFACE": b"CGI/1.1",
        b"SERVER_SOFTWARE": SOFTWARE,
        b"SERVER_PROTOCOL": b"HTTP/1.%d" % head.minor,
        b"SERVER_NAME": origin.name,
        b"SERVER_ADDR": origin.local.encode(),
        b"SERVER_PORT": b"%d" % origin.port,
        b"REMOTE_ADDR": origin.remote.encode(),
        b"REQUEST_METHOD": head.method,
        b"REQUEST_SCHEME": origin.scheme,
        b"REQUEST_URI": uri_of(head),
        b"DOCUMENT_URI": head.path,
        b"SCRIPT_NAME": b"",
        b"PATH_INFO": unquote_to_bytes(head.path),
        b"QUERY_STRING": head.query,
        b"REDIRECT_STATUS": b"200",  # php refuses to run without it
    }
    if origin.scheme == b"https":
        params[b"HTTPS"] = b"on"
    content_type = head.get(b"content-type")
    if content_type is not None:
        params[b"CONTENT_TYPE"] = content_type
    if head.content_length is not None:
        params[b"CONTENT_LENGTH"] = b"%d" % head.content_length
    if head.host:
        params[b"HTTP_HOST"] = head.host
    kept = (field for field in _joined(_end_to_end(head, ours)) if field[0] not in _NEVER_HTTP)
    for name, value in (*kept, *origin.fields):
        params[b"HTTP_" + name.upper().replace(b"-", b"_")] = value
    for key, text in upstream.params:
        params[key.encode()] = text.encode()
    return params


def make_fields(
    head: RequestHead, origin: Origin, ours: frozenset[bytes] = _OURS
) -> Iterable[tuple[bytes, bytes]]:
    """Yield the fields of a request to an HTTP upstream, except the request id."""
    yield b"Host", head.host or origin.name
    for name, value in _end_to_end(head, ours):
        if name == b"content-length":
            yield name, b"%d" % (head.content_length or 0)
        elif name not in (b"host", b"expect", b"proxy"):
            yield name, value
    yield from origin.fields
    yield b"Via", b"1.%d %b" % (head.minor, SOFTWARE)  # RFC 9110 section 7.6.3
    if head.chunked:
        yield b"Transfer-Encoding", b"chunked"


def _end_to_end(head: RequestHead, ours: frozenset[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Return the client's end-to-end fields, without those that only the gateway may set."""
    dropped = _always_dropped(ours)
    if named := named_by_connection(head.fields):
        dropped |= named
    return (
        (name, value) for name, value in head.fields if name not in dropped and not _is_forged(name)
    )


@lru_cache(16)
def _always_dropped(ours: frozenset[bytes]) -> frozenset[bytes]:
    return HOP_BY_HOP | ours


@lru_cache(1024)
def _is_forged(name: bytes) -> bool:
    """Return True for a name that an application could take for one of the gateway's."""
    return b"_" in name or name.startswith(PREFIX)


def named_by_connection(fields: Fields) -> set[bytes]:
    """Return the lower-case field names that Connection declares hop-by-hop."""
    return {
        item.strip(b" \t")
        for name, value in fields
        if name == b"connection"
        for item in value.lower().split(b",")
    } - {b"close", b"keep-alive", b"host", b"content-length"}


def _joined(fields: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    """Join the values of repeated fields (RFC 9110 section 5.3; cookies: RFC 6265bis)."""
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        separator = b"; " if name == b"cookie" else b", "
        found[name] = found[name] + separator + value if name in found else value
    return found.items()


# From an upstream's response to the client's

_NOT_FOR_CLIENTS: Final = HOP_BY_HOP | {b"server", b"date", b"x-accel-buffering"}


def to_client(status: int, reason: bytes | None, fields: Fields) -> ResponseHead:
    """Return the response head for the client, with the gateway's own Server and Date.

    Drops Content-Length from a 204, keeps Upgrade in a 426, which must have it (RFC 9110 section
    15.5.22). Raises LocalProtocolError if forwarding the upstream's fields
    would split the response.
    """
    lower = tuple((name.lower(), value) for name, value in fields)
    dropped = _NOT_FOR_CLIENTS | named_by_connection(lower)
    if status == 204:
        dropped |= {b"content-length"}
    elif status == 426:
        dropped -= {b"upgrade"}
    kept = [field for field, (name, _) in zip(fields, lower, strict=True) if name not in dropped]
    head = ResponseHead(status, [(b"Server", SOFTWARE), *kept], reason)
    head.derived = any(
        (name == b"x-accel-buffering" and value.strip().lower() == b"no")
        or (name == b"content-type" and value.strip().lower().startswith(b"text/event-stream"))
        for name, value in lower
    )
    return head


def is_stream(head: ResponseHead) -> bool:
    """Return True if the upstream asked for its response not to be buffered.

    It does so by `X-Accel-Buffering: no`, as for nginx, or by sending text/event-stream.
    """
    return head.derived is True
