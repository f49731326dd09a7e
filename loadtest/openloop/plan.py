"""What to send: target, request, rate, duration, connections."""

import math
import pickle
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

Expected = bytes | Callable[[bytes], bool]
"""The body that every answer must have, or a function that says whether a body is correct."""

_WRITE: Final = "write http://HOST:PORT/PATH or unix:SOCKET:/PATH"


class PlanError(ValueError):
    """The plan cannot be carried out; the message names the field and what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server's address and the path to request."""

    family: int
    address: str | tuple[str, int]
    host: str  # of the Host field
    path: str


def parse_target(text: str) -> Target:
    """Return the target that `text` names: http://HOST:PORT/PATH or unix:SOCKET:/PATH.

    This looks up the host name, once.
    """
    if text.startswith("unix:"):
        name, _, path = text.removeprefix("unix:").partition(":")
        if not name:
            raise PlanError(f"URL {text!r}: no socket path; {_WRITE}")
        return Target(socket.AF_UNIX, name, "localhost", _origin_form(path))
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or 80
    except ValueError as error:
        raise PlanError(f"URL {text!r}: {error}; {_WRITE}") from None
    if parts.scheme != "http" or not host:
        raise PlanError(f"URL {text!r}: not an http URL; {_WRITE}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise PlanError(f"URL {text!r}: cannot resolve {host} ({error}); {_WRITE}") from None
    path = parts.path + ("?" + parts.query if parts.query else "")
    return Target(family, (str(address[0]), int(address[1])), parts.netloc, _origin_form(path))


def _origin_form(path: str) -> str:
    if not path.isascii() or not path.isprintable() or " " in path:
        raise PlanError(f"URL: the path {path!r} is not printable ASCII; percent-encode it")
    return path if path.startswith("/") else "/" + path


def make_request(
    target: Target, method: str = "GET", body: bytes = b"", *, keep: bool = True
) -> bytes:
    """Return the request's bytes, with Content-Length if there is a body."""
    lines = [f"{method} {target.path} HTTP/1.1", f"Host: {target.host}"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if not keep:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run; PlanError if a field is invalid."""

    target: Target
    request: bytes
    expected: Expected  # a function must be importable by name, for the driver processes
    status: int = 200
    rate: float | None = None  # requests per second of all processes; None: closed loop
    arrivals: Literal["constant", "poisson"] = "constant"
    seed: int = 0
    duration: float = 10.0  # seconds in which requests are sent
    limit: int = 100_000_000  # requests at most
    connections: int = 8
    processes: int = 1
    timeout: float = 5.0  # seconds from the intended time until a request fails
    keep: bool = True  # False: a connection for each request

    def __post_init__(self) -> None:
        for name, most in (("rate", 1e6), ("duration", 86400), ("timeout", 3600)):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0 < value <= most):
                raise PlanError(f"{name}: {value!r} is out of range; give above 0, up to {most:g}")
        for name, most in (("connections", 100_000), ("processes", 64), ("limit", 10**9)):
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise PlanError(f"{name}: {value!r} is out of range; give from 1 to {most}")
        if self.processes > self.connections:
            raise PlanError(
                f"processes: {self.processes} for {self.connections} connections; "
                f"give each process at least one connection"
            )
        self._check_expected()

    def _check_expected(self) -> None:
        if isinstance(self.expected, bytes):
            return
        try:
            pickle.dumps(self.expected)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise PlanError(f"expected: {error}; give a module's top-level function") from None
        if getattr(self.expected, "__module__", "") == "__main__":
            raise PlanError("expected: the function is in __main__; move it into a module")

    def share(self, total: int, worker_id: int) -> int:
        """Return process `worker_id`'s share of `total`."""
        return total // self.processes + (worker_id < total % self.processes)
