"""Addresses, listeners, log files and configuration tables, shared by gateway, worker and servers.

These programs bind in the same way and report a busy address in the same words, but they do not
import each other, and `wire` has no sockets. This package imports only the standard library, except
`option`, which needs click.
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
