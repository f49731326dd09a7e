"""Where an upstream's back ends are just now: one address in the configuration may be several.

A host name stands for every address that the name server gives (the replicas of a container), and
a unix path with a `*` for every socket that matches. Both change while we serve, so they are looked
up again every second: new ones get requests, those that are gone get none.

Fact: a name server may take seconds to answer, and getaddrinfo(3) blocks.
Decision: a thread asks and leaves what it found; the pool takes it at its next sweep.
Trade-off: a replica is found, or missed, up to a second late; connecting to one that is gone fails
and goes to the next address anyway. An answer of nothing changes nothing: a name server that is
down is no reason to stop serving.
"""

import ipaddress
import socket
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from chainlab.transport import Address

_AGAIN: Final = 1.0  # seconds between two looks


def look_up(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Return what `addresses` stand for now, in their order, each once; may block on names."""
    found: dict[Address, None] = {}
    for address in addresses:
        found.update(dict.fromkeys(_expand(address)))
    return tuple(found)


def is_moving(address: Address) -> bool:
    """Tell whether what `address` stands for may change: a host name, or a path with a `*`."""
    if address.path:
        return "*" in address.path
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return True
    return False


def _expand(address: Address) -> list[Address]:
    if not is_moving(address):
        return [address]
    if address.path:
        pattern = Path(address.path)  # the `*` is in its last part
        paths = sorted(pattern.parent.glob(pattern.name))
        return [Address(path=str(path)) for path in paths if path.is_socket()]
    try:
        entries = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [replace(address, host=str(entry[4][0])) for entry in sorted(entries)]


class Discovery:
    """Looks `addresses` up again and again in a thread; `found` is the newest."""

    def __init__(self, addresses: tuple[Address, ...]) -> None:
        self._addresses = addresses
        self.found = look_up(addresses)
        self._stopped = threading.Event()
        if any(map(is_moving, addresses)):
            threading.Thread(target=self._run, name="discovery", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(_AGAIN):
            self.found = look_up(self._addresses) or self.found
