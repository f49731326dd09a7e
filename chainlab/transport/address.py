"""An address in the project's common notation: `unix:/path` or `HOST:PORT`.

IPv6 hosts are in brackets: `[::1]:8080`. Parsing opens no socket and queries no name server.
"""

import socket
from dataclasses import dataclass
from typing import Final

_UNIX: Final = "unix:"
_PATH_LIMIT: Final = 107
"""Bytes of a unix socket's path: sun_path has 108, the last one a NUL (man unix(7))."""


class AddressError(ValueError):
    """The text is no address; the message says what is wrong and what is expected."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or connect: a path for a unix socket, else host and port."""

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
        """What bind and connect take."""
        return self.path or (self.host, self.port)

    def __str__(self) -> str:
        if self.path:
            return _UNIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address that `text` names; AddressError says what is wrong with it."""
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        if not path:
            raise AddressError(f"{text!r}: no path after 'unix:'; write unix:/run/app.sock")
        if len(path.encode()) > _PATH_LIMIT:
            raise AddressError(
                f"{text!r}: the path takes {len(path.encode())} bytes, a unix socket allows "
                f"{_PATH_LIMIT}; use a shorter folder"
            )
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise AddressError(f"{text!r}: neither HOST:PORT nor unix:PATH; write 127.0.0.1:9000")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise AddressError(f"{text!r}: the port is {port!r}; write a number from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(f"{text!r}: an IPv6 host stands in brackets; write [{host}]:{port}")
    return Address(host=host, port=int(port))
