"""The application for servers that misreport the peer of a unix socket.

Such a peer has no address: gunicorn reports nothing, bjoern reports uninitialized stack memory. The
contract says `unix:`. Only requests on unix sockets come through this module.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from servers.app import wsgi

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Answer one request of a client on a unix socket."""
    environ["REMOTE_ADDR"] = "unix:"
    return wsgi.application(environ, start_response)
