"""Where a request comes from: its connection, or what a trusted front end says about it.

Behind a TLS terminator, the connection is the terminator's. If its address is in `trusted`, the
client's address, the scheme, the host and the port are those of its X-Forwarded-For, -Proto, -Host
and -Port fields; without any of these, those of Forwarded (RFC 7239); the address may also be in
X-Real-IP. Several addresses are read from the right, the nearest hop first, as far as they are
trusted: whatever a client made up stands to the left of its own address, and is not passed on.

From everybody else these fields are dropped, because applications believe them. A front end must
set or remove the ones it does not use: the gateway cannot tell which of two hops wrote a field.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from chainlab.transport.networks import UNIX, Networks, bracketed, plain_ip
from chainlab.wire.http1 import Fields, RequestHead
from chainlab.wire.http1.fields import TOKEN, values
from chainlab.wire.http1.request import split_host

PREFIX: Final = b"x-forwarded-"
OTHERS: Final = frozenset((b"forwarded", b"x-real-ip"))
"""The names of forwarding fields: those that begin with PREFIX, and OTHERS (lower case)."""

_FOR, _PROTO, _HOST, _PORT = (PREFIX + name for name in (b"for", b"proto", b"host", b"port"))
_CLAIMS: Final = (_FOR, _PROTO, _HOST, _PORT)
_DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}
_SCHEMES: Final = {b"http": b"http", b"https": b"https", b"ws": b"http", b"wss": b"https"}
_PAIR: Final = re.compile(
    rb"[ \t]*(?:(" + TOKEN + rb")=(?:(" + TOKEN + rb')|"((?:[^"\\]|\\.)*)"))?[ \t]*([;,]|\Z)'
)


class Origin(NamedTuple):
    """Who asked for what: the client's view of the connection."""

    remote: str  # the client's IP address; "unix:" for a unix socket
    scheme: bytes  # b"http" or b"https"
    name: bytes  # of the server, IPv6 in brackets
    port: int  # of the server
    local: str  # the server's own end of the connection
    fields: Fields  # forwarding fields for the upstream


class Claims(NamedTuple):
    """What a front end says; empty where it says nothing."""

    chain: tuple[str, ...]  # the addresses that count, the client's first
    proto: bytes = b""
    host: bytes = b""
    port: int = 0


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
    fields = [field for field in head.fields if field[0].startswith(PREFIX)]
    others = [field for field in fields if field[0] not in _CLAIMS]
    if len(others) < len(fields):  # Forwarded is not this front end's own then
        claims = _read_x_forwarded(head, trusted)
    else:
        claims = _read_forwarded(head, trusted)
        others += _pass_on_forwarded(head, remote)
    real = _parse_node(b"".join(values(head.fields, b"x-real-ip")[-1:]))
    if real and not claims.chain:
        claims = claims._replace(chain=(real,))
    client = claims.chain[0] if claims.chain else remote
    if real:
        others.append((b"X-Real-IP", client.encode()))

    proto = claims.proto if claims.proto in _SCHEMES else b"http"
    host = claims.host if split_host(claims.host) else head.host
    name, host_port = split_host(host) or (bracketed(local).encode(), None)
    port = claims.port or local_port
    if not claims.port and (claims.proto or claims.host):
        port = host_port or _DEFAULT_PORTS[_SCHEMES[proto]]
    others.append((b"X-Forwarded-For", ", ".join((*claims.chain, remote)).encode()))
    others.append((b"X-Forwarded-Proto", proto))
    if claims.port:
        others.append((b"X-Forwarded-Port", b"%d" % claims.port))
    if host:
        others.append((b"X-Forwarded-Host", host))
    return Origin(client, _SCHEMES[proto], name, port, local, tuple(others))


def _read_x_forwarded(head: RequestHead, trusted: Networks) -> Claims:
    nodes = [_parse_node(node) for node in _items(head, _FOR)]
    proto, host, port = ((_items(head, name) or [b""])[0] for name in (_PROTO, _HOST, _PORT))
    number = int(port) if port.isdigit() and len(port) <= 5 else 0
    return Claims(_chain(nodes, trusted), proto.lower(), host, number if number < 65536 else 0)


def _items(head: RequestHead, name: bytes) -> list[bytes]:
    """Return the items of a list field, which may be on several lines."""
    items = b",".join(values(head.fields, name)).split(b",")
    return [item.strip(b" \t") for item in items if item.strip(b" \t")]


def _read_forwarded(head: RequestHead, trusted: Networks) -> Claims:
    elements = _parse_forwarded(values(head.fields, b"forwarded"))
    nodes = [_parse_node(element.get(b"for", b"")) for element in elements]
    chain = _chain(nodes, trusted)
    element = elements[-max(len(chain), 1)] if elements else {}
    return Claims(chain, element.get(b"proto", b"").lower(), element.get(b"host", b""))


def _pass_on_forwarded(head: RequestHead, remote: str) -> Fields:
    """Return the Forwarded field with an element for the front end, if it sent one."""
    lines = values(head.fields, b"forwarded")
    if not lines:
        return ()
    node = b"unknown" if remote == UNIX else remote.encode()
    element = b'for="[%b]"' % node if b":" in node else b"for=%b" % node
    return ((b"Forwarded", b", ".join([*lines, element])),)


def _chain(nodes: Sequence[str | None], trusted: Networks) -> tuple[str, ...]:
    """Return the end of `nodes` that counts: the last one that is not trusted, and those after it.

    An unreadable node ends the search: what stands before it is hearsay.
    """
    found: list[str] = []
    for node in reversed(nodes):
        if node is None:
            break
        found.insert(0, node)
        if node not in trusted:
            break
    return tuple(found)


def _parse_node(text: bytes) -> str | None:
    """Return the IP address of a node like `192.0.2.1`, `[::1]:80`; None for any other name."""
    host = text.strip(b" \t").decode("latin-1")
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return plain_ip(str(ipaddress.ip_address(host)))
    except ValueError:
        return None


def _parse_forwarded(lines: list[bytes]) -> list[dict[bytes, bytes]]:
    """Return the elements of a Forwarded field (RFC 7239 section 4); none if it is malformed."""
    elements: list[dict[bytes, bytes]] = []
    for line in lines:
        element: dict[bytes, bytes] = {}
        at = 0
        while at <= len(line):
            match = _PAIR.match(line, at)
            if match is None:
                return []
            name, token, quoted, end = match.groups()
            if name:
                value = token if token is not None else re.sub(rb"\\(.)", rb"\1", quoted)
                element[name.lower()] = value
            if end != b";":
                elements += [element] if element else []
                element = {}
            at = match.end() + (not end)
    return elements
