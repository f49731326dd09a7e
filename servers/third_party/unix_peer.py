"""The application for servers that name the peer of a unix socket wrongly.

Such a peer has no address: gunicorn says nothing, bjoern says what lay on its stack. The contract
says `unix:`. Only on unix sockets does a request come through here; the rest is untouched.
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
