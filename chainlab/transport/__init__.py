"""Addresses, listeners and log files: what every server here needs before it serves.

The gateway, the worker and the servers bind in the same way and report a busy address in the same
words, but they never import each other and `wire` has no sockets; hence this shared package. It
imports only the standard library, except for `option`, which is for command lines.
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
