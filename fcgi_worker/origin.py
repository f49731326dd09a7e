"""Where a request comes from, if the web server stands behind a front end (`--trusted`).

A web server behind a TLS terminator or a load balancer reports the address and the scheme of that
front end. If REMOTE_ADDR is in `--trusted`, the application instead sees the client's address,
scheme, host and port, as the front end's fields tell (`chainlab.wire.forwarded`). What a client
made up is removed: all of these fields of a request that comes from anybody else, and the addresses
in X-Forwarded-For that no trusted front end vouches for.
"""

from typing import TYPE_CHECKING, Final

from chainlab.transport.networks import UNIX, Networks, plain_ip
from chainlab.wire.forwarded import DEFAULT_PORTS, SCHEMES, Claims, read_claims
from chainlab.wire.http1.request import split_host

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import WSGIEnvironment

_PREFIX: Final = "HTTP_X_FORWARDED_"
_FOR: Final = _PREFIX + "FOR"
_FORWARDED: Final = "HTTP_FORWARDED"
_REAL: Final = "HTTP_X_REAL_IP"


def apply_origin(environ: "WSGIEnvironment", trusted: Networks) -> None:
    """Set the origin of a request that came through a trusted front end; forget claims else."""
    remote = plain_ip(environ.get("REMOTE_ADDR") or UNIX)
    if remote not in trusted:
        for name in [name for name in environ if name.startswith(_PREFIX)]:
            del environ[name]
        environ.pop(_FORWARDED, None)
        environ.pop(_REAL, None)
        return

    def lines(name: bytes) -> list[bytes]:
        value = environ.get("HTTP_" + name.decode().upper().replace("-", "_"))
        return [] if value is None else [value.encode("latin-1")]

    claims = read_claims(lines, trusted.__contains__)
    _set_client(environ, claims)
    if not claims.by_forwarded:  # Forwarded is not this front end's own
        environ.pop(_FORWARDED, None)
    _set_server(environ, claims)


def _set_client(environ: "WSGIEnvironment", claims: Claims) -> None:
    if _FOR in environ:
        environ[_FOR] = ", ".join(claims.chain)
    if claims.chain:
        client = claims.chain[0]
        environ["REMOTE_ADDR"] = client
        environ.pop("REMOTE_PORT", None)  # the front end's
        environ.pop("REMOTE_HOST", None)
        if _REAL in environ:
            environ[_REAL] = client


def _set_server(environ: "WSGIEnvironment", claims: Claims) -> None:
    scheme, host = SCHEMES.get(claims.proto), split_host(claims.host)
    if scheme is not None:
        environ["REQUEST_SCHEME"] = scheme.decode()
        environ.pop("HTTPS", None)
        if scheme == b"https":
            environ["HTTPS"] = "on"
    if host is not None:
        environ["HTTP_HOST"] = claims.host.decode("latin-1")
        environ["SERVER_NAME"] = host[0].decode("latin-1")
    if scheme or host or claims.port:
        host = split_host(environ.get("HTTP_HOST", "").encode("latin-1"))
        default = DEFAULT_PORTS[b"https" if environ.get("HTTPS") else b"http"]
        environ["SERVER_PORT"] = str(claims.port or (host and host[1]) or default)
