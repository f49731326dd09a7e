"""Addresses, listeners and log files: what every server of the house needs before it serves.

The gateway, the worker and the servers bind in the same way and must tell a busy address in the
same words, but they never import each other and `wire` has no sockets; so this leaf holds it.
It imports the standard library only, but for `option`, which command lines import.
"""

from chainlab.transport.address import Address, AddressError, parse_address
from chainlab.transport.listener import (
    BACKLOG,
    ListenError,
    bind_listener,
    bound_address,
    remove_socket,
)

__all__ = [
    "BACKLOG",
    "Address",
    "AddressError",
    "ListenError",
    "bind_listener",
    "bound_address",
    "parse_address",
    "remove_socket",
]
