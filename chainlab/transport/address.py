"""An address in the project's common notation: `unix:/path` or `HOST:PORT`.

IPv6 hosts are in brackets: `[::1]:8080`. Parsing opens no socket and resolves no name.
"""

import ipaddress
import os
import socket
from dataclasses import dataclass
from typing import Final

_UNIX: Final = "unix:"
_PATH_LIMIT: Final = 107
"""Maximum bytes of a unix socket's path: sun_path has 108, including a NUL (unix(7))."""


class AddressError(ValueError):
    """The text is not an address; the message names the error and the remedy."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or connect: `path` for a unix socket, otherwise `host` and `port`."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def family(self) -> socket.AddressFamily:
        """AF_UNIX, AF_INET6 or AF_INET."""
        if self.path:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def sockaddr(self) -> str | tuple[str, int]:
        """The argument of bind and connect."""
        return self.path or (self.host, self.port)

    def __str__(self) -> str:
        if self.path:
            return _UNIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse `text`; raise AddressError if it is invalid."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise AddressError(f"{text!r}: a control character; remove it")
    if text.startswith(_UNIX):
        return _parse_path(text)
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise AddressError(
            f"{text!r}: neither HOST:PORT nor unix:PATH; write for example 127.0.0.1:9000"
        )
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise AddressError(f"{text!r}: invalid port {port!r}; write a number from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        _require_ipv6(text, host)
    elif "/" in host or " " in host:
        raise AddressError(f"{text!r}: {host!r} is not a host name; write HOST:PORT, not a URL")
    elif ":" in host:
        raise AddressError(f"{text!r}: an IPv6 host needs brackets; write [{host}]:{port}")
    else:
        _require_name(text, host)
    return Address(host=host, port=int(port))


def _parse_path(text: str) -> Address:
    path = text.removeprefix(_UNIX)
    if not path:
        raise AddressError(f"{text!r}: no path after 'unix:'; write for example unix:/run/app.sock")
    size = len(os.fsencode(path))
    if size > _PATH_LIMIT:
        raise AddressError(
            f"{text!r}: the path has {size} bytes, a unix socket allows "
            f"{_PATH_LIMIT}; use a shorter path"
        )
    return Address(path=path)


def _require_ipv6(text: str, host: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise AddressError(f"{text!r}: {host!r} is not an IPv6 address; correct it") from None


def _require_name(text: str, host: str) -> None:
    """Raise AddressError for a host that the resolver cannot look up (RFC 3490 section 4)."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise AddressError(
            f"{text!r}: {host!r} is not a host name; write labels of 1 to 63 characters"
        ) from None
