"""The configuration: one TOML file or the command-line flags, read once and then immutable.

An error reads `FILE:LINE: field: problem; remedy`, so that an operator who reloads a running
gateway can go straight to the line. tomllib keeps no line numbers; `_Table` searches the text for
the field when an error occurs.
"""

import difflib
import os
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from chainlab.transport import Address, AddressError, parse_address
from chainlab.wire.http1 import Limits

_LONGEST: Final = 86400.0  # seconds, of any timeout


class ConfigError(ValueError):
    """The configuration is invalid; the message names the line, the field and the remedy."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds; each comment says what happens on expiry."""

    connect: float = 5.0  # to an upstream: the next address, then 504
    queue: float = 30.0  # for a free connection to an upstream: 503 with Retry-After
    send: float = 30.0  # a peer accepts no bytes: upstream 504, client closed
    read: float = 60.0  # between two reads of an upstream's response: 504, or cut off
    idle: float = 75.0  # a kept client connection without a request: closed
    header: float = 15.0  # for a whole request head: 408
    body: float = 30.0  # between two reads of a request body: 408
    grace: float = 30.0  # for running requests after SIGQUIT: then aborted


@dataclass(frozen=True, slots=True)
class Upstream:
    """A named group of interchangeable backends, one per address."""

    name: str
    protocol: str  # "fastcgi" or "http"
    addresses: tuple[Address, ...]
    balance: str = "round-robin"  # or "least-connections"
    connections: int = 32  # maximum per address; FCGI_GET_VALUES may lower it
    queue: int = 1024  # requests waiting for a connection; more get 503 with Retry-After
    params: tuple[tuple[str, str], ...] = ()  # FastCGI parameters, added or replaced
    request_buffering: bool = False  # forward a request once its whole body is here
    response_buffering: bool = True  # a slow client's response goes to a file, not back-pressure


@dataclass(frozen=True, slots=True)
class Route:
    """Maps paths that start with `prefix` to a folder or to a named upstream."""

    prefix: str
    root: Path | None = None
    upstream: str | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """Where the logs go: "-" (access: stdout, error: stderr), "off" (access only), or a path."""

    access: str = "-"
    format: str = "combined"  # or "json"
    error: str = "-"


@dataclass(frozen=True, slots=True)
class Config:
    """The complete configuration of a gateway."""

    listen: tuple[Address, ...]
    routes: tuple[Route, ...]  # the longest prefix first
    upstreams: Mapping[str, Upstream]
    workers: int = 1
    status_path: str = ""
    server_timing: bool = False  # send Server-Timing to clients, X-Request-Start to upstreams
    traceparent: bool = False  # W3C Trace Context: continue the client's trace or start one
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    connections: int = 0  # maximum clients per process; 0: as many as descriptors allow
    spool_response: int = 1 << 30  # bytes of one response in a temporary file
    spool: int = 4 << 30  # bytes that all temporary files of a process may take
    log: Log = field(default_factory=Log)


def read_config(path: Path) -> str:
    """Return the text of the configuration file; raise ConfigError if it is unreadable."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a readable file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; save it as UTF-8") from None


def parse_config(text: str, name: str) -> Config:
    """Parse `text`; error messages call it `name`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"line (\d+)", str(error))
        line = where[1] if where else str(text.count("\n") + 1)
        raise ConfigError(f"{name}:{line}: not TOML: {error}") from None
    top = _Table(document, name, text, ())
    log_table = top.table("log")
    limits_table = top.table("limits")
    upstreams = _read_upstreams(top)
    config = Config(
        listen=top.addresses("listen"),
        workers=top.number("workers", 1, 1, 256),
        status_path=_read_status_path(top),
        server_timing=top.flag("server_timing"),
        traceparent=top.flag("traceparent"),
        routes=_read_routes(top, upstreams),
        upstreams=upstreams,
        timeouts=_read_timeouts(top.table("timeouts")),
        connections=limits_table.number("connections", 0, 0, 1_000_000),
        spool_response=limits_table.number("spool_response", 1 << 30, 0, 1 << 50),
        spool=limits_table.number("spool", 4 << 30, 0, 1 << 50),
        limits=_read_limits(limits_table),
        log=Log(
            access=log_table.text("access", "-"),
            format=log_table.choice("format", ("combined", "json")),
            error=log_table.text("error", "-"),
        ),
    )
    log_table.finish()
    top.finish()
    return config


def simple_config(
    listen: Iterable[Address],
    protocol: str,
    addresses: Iterable[Address],
    *,
    request_buffering: bool | None = None,
    **rest: Any,
) -> Config:
    """Return a configuration that sends every path to one upstream, as the flags describe it."""
    if request_buffering is None:
        request_buffering = protocol == "fastcgi"
    upstream = Upstream("app", protocol, tuple(addresses), request_buffering=request_buffering)
    return Config(
        listen=tuple(listen),
        routes=(Route("/", upstream="app"),),
        upstreams={"app": upstream},
        **rest,
    )


def _read_status_path(top: "_Table") -> str:
    path = top.text("status_path", "")
    if path and not path.startswith("/"):
        top.fail("status_path", f"{path!r} is not a path", "start it with a slash")
    return path


def _read_timeouts(table: "_Table") -> Timeouts:
    standard = Timeouts()
    values = {
        item.name: table.seconds(item.name, getattr(standard, item.name))
        for item in fields(Timeouts)
    }
    table.finish()
    return Timeouts(**values)


def _read_limits(table: "_Table") -> Limits:
    standard = Limits()
    values = {
        item.name: table.number(item.name, getattr(standard, item.name), 1, 1 << 50)
        for item in fields(Limits)
    }
    table.finish()
    return Limits(**values)


def _read_upstreams(top: "_Table") -> dict[str, Upstream]:
    found = {}
    for table in top.tables_by_name("upstream"):
        name = table.path[-1]
        protocol = table.choice("protocol", ("fastcgi", "http"))
        found[name] = Upstream(
            name=name,
            protocol=protocol,
            addresses=table.addresses("addresses", resolve=True),
            balance=table.choice("balance", ("round-robin", "least-connections")),
            connections=table.number("connections", 32, 1, 65536),
            queue=table.number("queue", 1024, 0, 1_000_000),
            params=table.strings("params"),
            request_buffering=table.flag("request_buffering", default=protocol == "fastcgi"),
            response_buffering=table.flag("response_buffering", default=True),
        )
        if found[name].params and found[name].protocol != "fastcgi":
            table.fail("params", "not allowed in an http upstream", "remove them")
        table.finish()
    return found


def _read_routes(top: "_Table", upstreams: Mapping[str, Upstream]) -> tuple[Route, ...]:
    routes: list[Route] = []
    for table in top.tables_in_order("route"):
        prefix = table.text("prefix", "/")
        if not prefix.startswith("/"):
            table.fail("prefix", f"{prefix!r} is not a path", "start it with a slash")
        if prefix in [route.prefix for route in routes]:
            table.fail("prefix", f"{prefix!r} already has a route", "remove one of them")
        root, upstream = table.text("root", ""), table.text("upstream", "")
        if bool(root) == bool(upstream):
            table.fail("", "a route needs exactly one target", "set either root or upstream")
        if root and not Path(root).is_dir():
            table.fail("root", f"{root!r} is not a folder", "create it or correct the path")
        if upstream and upstream not in upstreams:
            known = ", ".join(upstreams) or "none"
            table.fail("upstream", f"unknown upstream {upstream!r}", f"declared upstreams: {known}")
        table.finish()
        routes.append(
            Route(prefix, Path(os.path.realpath(root)) if root else None, upstream or None)
        )
    if not routes and len(upstreams) == 1:
        routes.append(Route("/", upstream=next(iter(upstreams))))
    if not routes:
        top.fail("route", "no route", "add a [[route]] with prefix and either upstream or root")
    return tuple(sorted(routes, key=lambda route: -len(route.prefix)))


def _is_host(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


class _Table:
    """One TOML table. Each read removes a field; any field left at `finish` is an error."""

    def __init__(
        self, values: dict[str, Any], name: str, text: str, path: tuple[str, ...], nth: int = 0
    ) -> None:
        self._values = dict(values)
        self._known: list[str] = []
        self._name = name
        self._text = text
        self.path = path
        self._nth = nth  # index in an array of tables

    def fail(self, key: str, wrong: str, remedy: str) -> None:
        """Raise a ConfigError about field `key` of this table."""
        where = ".".join((*self.path, key) if key else self.path)
        raise ConfigError(f"{self._name}:{self._line_of(key)}: {where}: {wrong}; {remedy}")

    def finish(self) -> None:
        """Reject unknown fields."""
        for key in self._values:
            near = difflib.get_close_matches(key, self._known, 1)
            remedy = (
                f"did you mean {near[0]}?" if near else f"known fields: {', '.join(self._known)}"
            )
            self.fail(key, "unknown field", remedy)

    def _take(self, key: str, kinds: tuple[type, ...], expected: str, default: Any) -> Any:
        self._known.append(key)
        value = self._values.pop(key, default)
        if not isinstance(value, kinds) or isinstance(value, bool):
            self.fail(key, f"{value!r} is not {expected}", f"write {expected}")
        return value

    def text(self, key: str, default: str) -> str:
        """Take a string."""
        return str(self._take(key, (str,), "a string", default))

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Take one of `choices`; the first is the default."""
        value = self.text(key, choices[0])
        if value not in choices:
            self.fail(key, f"unknown value {value!r}", f"choose from: {', '.join(choices)}")
        return value

    def number(self, key: str, default: int, low: int, high: int) -> int:
        """Take a whole number from `low` to `high`."""
        value = int(self._take(key, (int,), "a whole number", default))
        if not low <= value <= high and value != default:
            self.fail(key, f"{value} is out of range", f"write a number from {low} to {high}")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Take a boolean."""
        self._known.append(key)
        value = self._values.pop(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"{value!r} is neither true nor false", "write true or false")
        return bool(value)

    def seconds(self, key: str, default: float) -> float:
        """Take a number of seconds above 0."""
        value = float(self._take(key, (int, float), "a number of seconds", default))
        if not 0 < value <= _LONGEST:
            limit = f"write a number of seconds above 0 and up to {_LONGEST:.0f}"
            self.fail(key, f"{value} is out of range", limit)
        return value

    def addresses(self, key: str, *, resolve: bool = False) -> tuple[Address, ...]:
        """Take a non-empty list of addresses; with `resolve`, every host name must resolve."""
        values = self._take(key, (list,), 'a list like ["127.0.0.1:8080"]', [])
        found = []
        for value in values:
            try:
                found.append(parse_address(str(value)))
            except AddressError as error:
                raise ConfigError(
                    f"{self._name}:{self._line_of(key)}: {'.'.join((*self.path, key))}: {error}"
                ) from None
        for address in found if resolve else ():
            if not address.path and not _is_host(address.host):
                self.fail(
                    key, f"unknown host {address.host!r}", "write an IP address or correct the name"
                )
        if not found:
            self.fail(key, "no address", 'write a list like ["127.0.0.1:8080"] or ["unix:/run/x"]')
        return tuple(found)

    def strings(self, key: str) -> tuple[tuple[str, str], ...]:
        """Take a table of strings."""
        values = self._take(key, (dict,), 'a table like { NAME = "value" }', {})
        for name, value in values.items():
            if not isinstance(value, str):
                self.fail(key, f"{name} is {value!r}, not a string", "write a string")
        return tuple(values.items())

    def table(self, key: str) -> "_Table":
        """Take a table; a missing one is empty."""
        values = self._take(key, (dict,), f"a table like [{key}]", {})
        return _Table(values, self._name, self._text, (*self.path, key))

    def names(self) -> tuple[str, ...]:
        """Return the names of the remaining fields."""
        return tuple(self._values)

    def tables_by_name(self, key: str) -> list["_Table"]:
        """Take the tables [key.NAME]."""
        outer = self.table(key)
        return [outer.table(name) for name in outer.names()]

    def tables_in_order(self, key: str) -> list["_Table"]:
        """Take the tables of the array [[key]]."""
        values = self._take(key, (list,), f"an array of tables like [[{key}]]", [])
        if not all(isinstance(value, dict) for value in values):
            self.fail(key, "not an array of tables", f"write [[{key}]]")
        return [_Table(v, self._name, self._text, (key,), nth) for nth, v in enumerate(values)]

    def _line_of(self, key: str) -> int:
        """Return the line of `key` in this table; if not found, the table's line, or 1."""
        header = re.escape(".".join(self.path))
        lines = self._text.splitlines()
        inside, seen, at = not self.path, -1, 1
        for number, line in enumerate(lines, 1):
            if re.match(r"\s*\[", line):
                seen += bool(found := re.match(rf"\s*\[\[?\s*{header}\s*\]", line))
                inside = bool(self.path) and bool(found) and seen == self._nth
                if inside:
                    at = number
            elif inside and key and re.match(rf'\s*"?{re.escape(key)}"?\s*[=.]', line):
                return number
        return at
