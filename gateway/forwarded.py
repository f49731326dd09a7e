"""Where a request comes from: its connection, or what a trusted front end says about it.

Behind a TLS terminator, the connection is the terminator's. If its address is in `trusted`, the
origin is what its forwarding fields say (`chainlab.wire.forwarded`). What a client made up is not
passed on. From everybody else these fields are dropped, because applications believe them.
"""

from typing import NamedTuple

from chainlab.transport.networks import UNIX, Networks, bracketed
from chainlab.wire.forwarded import (
    DEFAULT_PORTS,
    FOR,
    HOST,
    OTHERS,
    PORT,
    PREFIX,
    PROTO,
    SCHEMES,
    read_claims,
)
from chainlab.wire.http1 import Fields, RequestHead
from chainlab.wire.http1.fields import values
from chainlab.wire.http1.request import split_host

__all__ = ["OTHERS", "PREFIX", "Origin", "find_origin"]


class Origin(NamedTuple):
    """Who asked for what: the client's view of the connection."""

    remote: str  # the client's IP address; "unix:" for a unix socket
    scheme: bytes  # b"http" or b"https"
    name: bytes  # of the server, IPv6 in brackets
    port: int  # of the server
    local: str  # the server's own end of the connection
    fields: Fields  # forwarding fields for the upstream


def find_origin(
    head: RequestHead, remote: str, local: str, local_port: int, trusted: Networks
) -> Origin:
    """Return the origin of a request that arrived from `remote` at the listener `local`."""
    if trusted and remote in trusted:
        return _believe(head, remote, local, local_port, trusted)
    fields = [(b"X-Forwarded-For", remote.encode()), (b"X-Forwarded-Proto", b"http")]
    if head.host:
        fields.append((b"X-Forwarded-Host", head.host))
    return Origin(remote, b"http", _name_of(head.host, local), local_port, local, tuple(fields))


def _name_of(host: bytes, local: str) -> bytes:
    if b":" in host.rpartition(b"]")[2]:
        host = host.rpartition(b":")[0]
    return host or bracketed(local).encode()


def _believe(
    head: RequestHead, remote: str, local: str, local_port: int, trusted: Networks
) -> Origin:
    """Return the origin that the front end at `remote` reports."""
    others = [
        field
        for field in head.fields
        if field[0].startswith(PREFIX) and field[0] not in (FOR, PROTO, HOST, PORT)
    ]
    claims = read_claims(lambda name: values(head.fields, name), trusted.__contains__)
    if claims.by_forwarded:  # otherwise Forwarded is not this front end's own
        others += _pass_on_forwarded(head, remote)
    client = claims.chain[0] if claims.chain else remote
    if claims.real:
        others.append((b"X-Real-IP", client.encode()))

    proto = claims.proto if claims.proto in SCHEMES else b"http"
    host = claims.host if split_host(claims.host) else head.host
    name, host_port = split_host(host) or (bracketed(local).encode(), None)
    port = claims.port or local_port
    if not claims.port and (claims.proto or claims.host):
        port = host_port or DEFAULT_PORTS[SCHEMES[proto]]
    others.append((b"X-Forwarded-For", ", ".join((*claims.chain, remote)).encode()))
    others.append((b"X-Forwarded-Proto", proto))
    if claims.port:
        others.append((b"X-Forwarded-Port", b"%d" % claims.port))
    if host:
        others.append((b"X-Forwarded-Host", host))
    return Origin(client, SCHEMES[proto], name, port, local, tuple(others))


def _pass_on_forwarded(head: RequestHead, remote: str) -> Fields:
    """Return the Forwarded field with an element for the front end, if it sent one."""
    lines = values(head.fields, b"forwarded")
    if not lines:
        return ()
    node = b"unknown" if remote == UNIX else remote.encode()
    element = b'for="[%b]"' % node if b":" in node else b"for=%b" % node
    return ((b"Forwarded", b", ".join([*lines, element])),)
