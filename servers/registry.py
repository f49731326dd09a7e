"""The server architectures by id: what each is, and where its class is found, imported when run.

A `Spec` is data that tables and reports are made of, so asking what there is costs no import of
any server, and a machine that lacks one server's package can still run the others.
"""

from typing import Final

from servers.catalogue import (
    asynchronous,
    blocking,
    coroutine,
    multiplexing,
    outside,
    signal_driven,
)
from servers.spec import Options, Server, Spec

__all__ = ["SPECS", "Options", "Server", "Spec"]

SPECS: Final[dict[str, Spec]] = {
    spec.name: spec
    for family in (blocking, multiplexing, signal_driven, asynchronous, coroutine, outside)
    for spec in family.SPECS
}
"""Every architecture by its id, in the order of the notes."""
