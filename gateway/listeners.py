"""The master's listeners. They outlive the processes that accept from them."""

import socket
from collections.abc import Iterable

from chainlab.transport import Address, bind_listener, bound_address, remove_socket


class Listeners:
    """Bound sockets by configured address."""

    def __init__(self) -> None:
        self._sockets: dict[Address, socket.socket] = {}

    def bind(self, addresses: Iterable[Address]) -> list[Address]:
        """Bind the new addresses and return them; if one fails (ListenError), bind none."""
        fresh: list[Address] = []
        try:
            for address in addresses:
                if address not in self._sockets:
                    self._sockets[address] = bind_listener(address)
                    fresh.append(address)
        except BaseException:
            self.close(fresh)
            raise
        return fresh

    def close(self, addresses: Iterable[Address]) -> None:
        """Close the listeners of these addresses and remove their socket files."""
        for address in addresses:
            listener = self._sockets.pop(address)
            remove_socket(listener)
            listener.close()

    def close_others(self, addresses: Iterable[Address]) -> None:
        """Close all listeners but those of these addresses."""
        self.close(set(self._sockets) - set(addresses))

    def at(self, addresses: Iterable[Address]) -> list[socket.socket]:
        """Return the listeners of these addresses, in order and without duplicates."""
        return [self._sockets[address] for address in dict.fromkeys(addresses)]

    def bound(self) -> list[Address]:
        """Return where they listen, with the actual ports."""
        return [bound_address(listener) for listener in self._sockets.values()]
