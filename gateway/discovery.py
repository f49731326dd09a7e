"""Resolves an upstream's configured addresses to its current backends.

A host name stands for every address that DNS returns (the replicas of a container), and a unix
path with a `*` for every matching socket. Both change at run time, so a thread resolves them again
every second: new backends get requests, vanished ones get none.

Fact: DNS may take seconds to answer, and getaddrinfo(3) blocks.
Decision: a thread resolves and stores the result; the pool picks it up at its next sweep.
Trade-off: the gateway notices a new or vanished replica up to a second late. Connecting to a
vanished one fails and moves on to the next address anyway. An empty result changes nothing: a DNS
outage is no reason to stop serving.
"""

import ipaddress
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from chainlab.transport import Address

_AGAIN: Final = 1.0  # seconds between lookups
_AT_ONCE: Final = 32  # host names resolved at the same time


def look_up(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Resolve `addresses` now, in order and without duplicates; host names may block."""
    found: dict[Address, None] = {}
    for address in addresses:
        found.update(dict.fromkeys(_expand(address)))
    return tuple(found)


def resolve(addresses: Iterable[Address]) -> dict[Address, tuple[Address, ...]]:
    """Resolve each address once, all at the same time; nothing found: an empty tuple.

    It takes as long as the slowest name: up to half a minute if a name server is silent.
    """
    found: dict[Address, tuple[Address, ...]] = {address: (address,) for address in addresses}
    moving = [address for address in found if is_moving(address)]
    if moving:
        with ThreadPoolExecutor(min(len(moving), _AT_ONCE)) as threads:
            found |= zip(moving, threads.map(_expand, moving), strict=True)
    return found


def is_moving(address: Address) -> bool:
    """Return True if `address` may resolve differently later: a host name or a path with `*`."""
    if address.path:
        return "*" in address.path
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return True
    return False


def _expand(address: Address) -> tuple[Address, ...]:
    if not is_moving(address):
        return (address,)
    if address.path:
        pattern = Path(address.path)  # `*` is allowed only in the last component
        paths = sorted(pattern.parent.glob(pattern.name))
        return tuple(Address(path=str(path)) for path in paths if path.is_socket())
    try:
        entries = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: not a host name (IDNA)
        return ()
    return tuple(replace(address, host=str(entry[4][0])) for entry in sorted(entries))


class Discovery:
    """Resolves `addresses` every second in a thread; `found` is the latest result.

    It starts with what the master `found` when it read the configuration.
    """

    def __init__(self, addresses: tuple[Address, ...], found: tuple[Address, ...]) -> None:
        self._addresses = addresses
        self.found = found
        self._stopped = threading.Event()
        if any(map(is_moving, addresses)):
            threading.Thread(target=self._run, name="discovery", daemon=True).start()

    def stop(self) -> None:
        """Stop the lookup thread."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(_AGAIN):
            with suppress(OSError):  # a folder that may not be read now: keep what was found
                self.found = look_up(self._addresses) or self.found
