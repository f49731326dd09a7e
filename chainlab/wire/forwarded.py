"""What front ends say about a request's origin: X-Forwarded-*, Forwarded (RFC 7239), X-Real-IP.

The client's address, the scheme, the host and the port are those of X-Forwarded-For, -Proto, -Host
and -Port; without any of these, those of Forwarded; the address may also be in X-Real-IP. Several
addresses are read from the right, the nearest hop first, as far as they are trusted: whatever a
client made up stands to the left of its own address.

Whether the sender may be believed at all, the caller must know. A front end must set or remove the
fields that it does not use: nobody can tell which of two hops wrote a field.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from chainlab.wire.http1.fields import TOKEN

Lines = Callable[[bytes], list[bytes]]
"""Returns the values of all lines of a field, by its name in lower case."""

Trusts = Callable[[str], bool]
"""Returns whether an IP address is a front end's that may be believed."""

PREFIX: Final = b"x-forwarded-"
OTHERS: Final = frozenset((b"forwarded", b"x-real-ip"))
"""The names of forwarding fields: those that begin with PREFIX, and OTHERS (lower case)."""

FOR, PROTO, HOST, PORT = (PREFIX + name for name in (b"for", b"proto", b"host", b"port"))
SCHEMES: Final = {b"http": b"http", b"https": b"https", b"ws": b"http", b"wss": b"https"}
"""The scheme of a request, by what front ends call it."""

DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}

_PAIR: Final = re.compile(
    rb"[ \t]*(?:(" + TOKEN + rb")=(?:(" + TOKEN + rb')|"((?:[^"\\]|\\.)*)"))?[ \t]*([;,]|\Z)'
)


class Claims(NamedTuple):
    """What a front end says; empty where it says nothing."""

    chain: tuple[str, ...] = ()  # the addresses that count, the client's first
    proto: bytes = b""  # lower case
    host: bytes = b""
    port: int = 0
    real: str | None = None  # the address in X-Real-IP
    by_forwarded: bool = False  # read from Forwarded: no X-Forwarded-* field is there


def read_claims(lines: Lines, trusted: Trusts) -> Claims:
    """Return what the fields of a request claim."""
    if any(lines(name) for name in (FOR, PROTO, HOST, PORT)):
        claims = _read_x_forwarded(lines, trusted)
    else:
        claims = _read_forwarded(lines, trusted)
    real = _parse_node(b"".join(lines(b"x-real-ip")[-1:]))
    if real and not claims.chain:
        claims = claims._replace(chain=(real,))
    return claims._replace(real=real)


def _read_x_forwarded(lines: Lines, trusted: Trusts) -> Claims:
    nodes = [_parse_node(node) for node in _items(lines(FOR))]
    proto, host, port = ((_items(lines(name)) or [b""])[0] for name in (PROTO, HOST, PORT))
    number = int(port) if port.isdigit() and len(port) <= 5 else 0
    return Claims(_chain(nodes, trusted), proto.lower(), host, number if number < 65536 else 0)


def _items(lines: list[bytes]) -> list[bytes]:
    """Return the items of a list field, which may be on several lines."""
    items = b",".join(lines).split(b",")
    return [item.strip(b" \t") for item in items if item.strip(b" \t")]


def _read_forwarded(lines: Lines, trusted: Trusts) -> Claims:
    elements = _parse_forwarded(lines(b"forwarded"))
    nodes = [_parse_node(element.get(b"for", b"")) for element in elements]
    chain = _chain(nodes, trusted)
    element = elements[-max(len(chain), 1)] if elements else {}
    proto = element.get(b"proto", b"").lower()
    return Claims(chain, proto, element.get(b"host", b""), by_forwarded=True)


def _chain(nodes: Sequence[str | None], trusted: Trusts) -> tuple[str, ...]:
    """Return the end of `nodes` that counts: the last one that is not trusted, and those after it.

    An unreadable node ends the search: what stands before it is hearsay.
    """
    found: list[str] = []
    for node in reversed(nodes):
        if node is None:
            break
        found.insert(0, node)
        if not trusted(node):
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
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


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
