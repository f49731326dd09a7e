"""Sets of client addresses, as an option names them: CIDR networks, addresses and `unix`."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

UNIX = "unix:"
"""The address of every client on a unix socket, as nginx writes it."""


class NetworkError(ValueError):
    """The text is not a network; the message names the error and the remedy."""


@dataclass(frozen=True, slots=True)
class Networks:
    """IP networks, and with `unix` also the clients on unix sockets."""

    networks: tuple[_Network, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Return the set that `texts` name; raise NetworkError for one that is none."""
        texts = list(texts)
        return cls(tuple(_parse_network(text) for text in texts if text != "unix"), "unix" in texts)

    def __bool__(self) -> bool:
        return bool(self.networks or self.unix)

    def __contains__(self, address: str) -> bool:
        if address == UNIX:
            return self.unix
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self.networks)


NOBODY: Final = Networks()


def _parse_network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise NetworkError(
            f"{text!r} is not a network ({error}); write for example 10.0.0.0/8, ::1 or unix"
        ) from None


def plain_ip(address: str) -> str:
    """Return `address`, an IPv4-mapped IPv6 address as IPv4 (RFC 4291 section 2.5.5.2)."""
    if address.startswith("::ffff:"):
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
        return str(mapped) if mapped else address
    return address


def bracketed(address: str) -> str:
    """Return `address` as a URL or a Host field has it: IPv6 in brackets (RFC 3986 section 3.2)."""
    return f"[{address}]" if ":" in address else address
