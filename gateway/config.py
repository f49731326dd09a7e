"""The configuration: one TOML file or the command-line flags, read once and then immutable.

Only the master reads it, because reading resolves host names, which may take seconds: a process
receives the result (`orders`). `chainlab.transport.table` reports every mistake with its line.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from chainlab.transport import Address
from chainlab.transport.networks import NOBODY, Networks
from chainlab.transport.table import ConfigError, Document, Table, show
from chainlab.wire.http1 import Limits
from gateway.discovery import is_moving, resolve

LEVELS: Final = ("error", "warn", "info")
"""Levels of the error log; each includes those before it."""
LOCAL: Final = Networks.parse(("127.0.0.0/8", "::1", "unix"))
"""Clients on the same machine."""
ROUTE_TIMEOUTS: Final = ("send", "read", "body")
"""Timeouts that a route may set: those that run while one of its requests is served."""
MOST_LISTENERS: Final = 100
"""Maximum addresses to listen on; the master passes all of them in one message (unix(7))."""


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
    found: tuple[Address, ...] = field(default=(), compare=False)  # the addresses, resolved


@dataclass(frozen=True, slots=True)
class Route:
    """Maps paths that start with `prefix` to a folder or to a named upstream."""

    prefix: str
    root: Path | None = None
    upstream: str | None = None
    body: int | None = None  # maximum bytes of a request body; None: Config.limits
    timeouts: tuple[tuple[str, float], ...] = ()  # those of ROUTE_TIMEOUTS that differ from Config


@dataclass(frozen=True, slots=True)
class Log:
    """Where the logs go: "-" (access: stdout, error: stderr), "off" (access only), or a path."""

    access: str = "-"
    format: str = "combined"  # or "json"
    error: str = "-"
    level: str = "info"  # the least important level that the error log contains


@dataclass(frozen=True, slots=True)
class Config:
    """The complete configuration of a gateway."""

    listen: tuple[Address, ...]
    routes: tuple[Route, ...]  # the longest prefix first
    upstreams: Mapping[str, Upstream]
    workers: int = 1
    status_path: str = ""
    status_allow: Networks = LOCAL  # clients that may see it
    trusted: Networks = NOBODY  # front ends whose X-Forwarded fields are believed (`forwarded`)
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


def load_config(path: Path) -> Config:
    """Read the file and resolve its host names; ConfigError with every mistake, whatever it is."""
    try:
        return parse_config(read_config(path), str(path))
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{path}: cannot be read: {error!r}; please report this") from error


def parse_config(text: str, name: str) -> Config:
    """Parse `text`, called `name` in messages, and resolve its host names; ConfigError."""
    document = Document(text, name)
    top = document.top
    log, limits_table = top.table("log"), top.table("limits")
    listen, upstreams = _read_ends(top)
    connections = limits_table.number("connections", 0, 0, 1_000_000)
    spool_response = limits_table.number("spool_response", 1 << 30, 0, 1 << 50)
    spool = limits_table.number("spool", 4 << 30, 0, 1 << 50)
    limits, routes = _widen(_read_limits(limits_table), _read_routes(top, upstreams))
    config = Config(
        listen=listen,
        workers=top.number("workers", 1, 1, 256),
        status_path=_read_status_path(top),
        status_allow=top.networks("status_allow", LOCAL),
        trusted=top.networks("trusted", NOBODY),
        server_timing=top.flag("server_timing"),
        traceparent=top.flag("traceparent"),
        routes=routes,
        upstreams=upstreams,
        timeouts=_read_timeouts(top.table("timeouts")),
        connections=connections,
        spool_response=spool_response,
        spool=spool,
        limits=limits,
        log=_read_log(log),
    )
    top.finish()
    document.finish()
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
    listen, addresses = tuple(listen), tuple(addresses)
    resolved = resolve((*filter(_is_name, listen), *addresses))
    for address in filter(_is_name, listen):
        if not resolved[address]:
            raise ConfigError(f"--listen {address}: {_unknown(address)}")
    upstream = Upstream(
        "app",
        protocol,
        addresses,
        request_buffering=request_buffering,
        found=_found(addresses, resolved),
    )
    return Config(
        listen=_bindable(listen, resolved),
        routes=(Route("/", upstream="app"),),
        upstreams={"app": upstream},
        **rest,
    )


def _read_ends(top: Table) -> tuple[tuple[Address, ...], dict[str, Upstream]]:
    """Read both ends, the listeners and the upstreams; resolve all their host names at once."""
    listen = _read_addresses(top, "listen")
    if len(listen) > MOST_LISTENERS:
        top.mistake("listen", f"{len(listen)} addresses; write at most {MOST_LISTENERS}")
    tables = list(top.tables_by_name("upstream"))
    upstreams = [_read_upstream(table) for table in tables]
    fields = [(top, "listen", listen)]
    fields += [(t, "addresses", u.addresses) for t, u in zip(tables, upstreams, strict=True)]
    wanted = [address for _, _, addresses in fields for address in addresses]
    resolved = resolve(wanted)
    for table, key, addresses in fields:
        for address in addresses:
            if _is_name(address) and not resolved[address]:
                table.mistake(key, _unknown(address))
    return _bindable(listen, resolved), {
        upstream.name: replace(upstream, found=_found(upstream.addresses, resolved))
        for upstream in upstreams
    }


def _is_name(address: Address) -> bool:
    return not address.path and is_moving(address)


def _unknown(address: Address) -> str:
    return f"unknown host {show(address.host)}; write an IP address or correct the name"


def _found(
    addresses: Iterable[Address], resolved: Mapping[Address, tuple[Address, ...]]
) -> tuple[Address, ...]:
    """Return what `addresses` resolved to, in order and without duplicates."""
    return tuple(dict.fromkeys(each for address in addresses for each in resolved[address]))


def _bindable(
    addresses: Iterable[Address], resolved: Mapping[Address, tuple[Address, ...]]
) -> tuple[Address, ...]:
    """Return `addresses` with the first address of each host name, IPv4 if it has one."""
    return tuple(
        resolved[address][0] if _is_name(address) and resolved[address] else address
        for address in addresses
    )


def _read_addresses(table: Table, key: str) -> tuple[Address, ...]:
    before = table.mistakes
    addresses = table.addresses(key)
    if not addresses and table.mistakes == before:
        table.mistake(key, 'no address; write a list like ["127.0.0.1:8080"] or ["unix:/run/x"]')
    return addresses


def _read_status_path(top: Table) -> str:
    path = top.text("status_path", "")
    if path and not path.startswith("/"):
        top.mistake("status_path", f"{show(path)} is not a path; start it with a slash")
    return path


def _read_log(table: Table) -> Log:
    log = Log(
        access=table.text("access", "-"),
        format=table.choice("format", ("combined", "json")),
        error=table.text("error", "-"),
        level=table.choice("level", LEVELS, default="info"),
    )
    table.finish()
    return log


def _read_timeouts(table: Table) -> Timeouts:
    standard = Timeouts()
    values = {
        item.name: table.seconds(item.name, getattr(standard, item.name))
        for item in fields(Timeouts)
    }
    table.finish()
    return Timeouts(**values)


def _read_limits(table: Table) -> Limits:
    standard = Limits()
    values = {
        item.name: table.number(item.name, getattr(standard, item.name), 1, 1 << 50)
        for item in fields(Limits)
    }
    table.finish()
    return Limits(**values)


def _widen(limits: Limits, routes: tuple[Route, ...]) -> tuple[Limits, tuple[Route, ...]]:
    """Let the parser accept the longest body that a route allows; every route then has a limit."""
    own = [route.body for route in routes if route.body is not None]
    if not own or limits.body is None:
        return limits, routes
    most = limits.body
    routes = tuple(
        replace(route, body=most if route.body is None else route.body) for route in routes
    )
    return replace(limits, body=max(most, *own)), routes


def _read_upstream(table: Table) -> Upstream:
    protocol = table.choice("protocol", ("fastcgi", "http"))
    upstream = Upstream(
        name=table.name,
        protocol=protocol,
        addresses=_read_addresses(table, "addresses"),
        balance=table.choice("balance", ("round-robin", "least-connections")),
        connections=table.number("connections", 32, 1, 65536),
        queue=table.number("queue", 1024, 0, 1_000_000),
        params=table.strings("params"),
        request_buffering=table.flag("request_buffering", default=protocol == "fastcgi"),
        response_buffering=table.flag("response_buffering", default=True),
    )
    if upstream.params and upstream.protocol != "fastcgi":
        table.mistake("params", "not allowed in an http upstream; remove them")
    for address in upstream.addresses:
        if is_moving(address) and "*" in str(Path(address.path).parent):
            table.mistake("addresses", f"{address}: a * in a folder's name; name the folder")
    table.finish()
    return upstream


def _read_routes(top: Table, upstreams: Mapping[str, Upstream]) -> tuple[Route, ...]:
    routes: list[Route] = []
    before = top.mistakes
    for table in top.tables_in_order("route"):
        route = _read_route(table, upstreams)
        if route.prefix in [other.prefix for other in routes]:
            table.mistake("prefix", f"{show(route.prefix)} already has a route; remove one of them")
        routes.append(route)
    if not routes and len(upstreams) == 1:
        routes.append(Route("/", upstream=next(iter(upstreams))))
    if not routes and top.mistakes == before:
        top.mistake("route", "no route; add a [[route]] with prefix and either upstream or root")
    return tuple(sorted(routes, key=lambda route: -len(route.prefix)))


def _read_route(table: Table, upstreams: Mapping[str, Upstream]) -> Route:
    prefix = table.text("prefix", "/")
    if not prefix.startswith("/"):
        table.mistake("prefix", f"{show(prefix)} is not a path; start it with a slash")
    before = table.mistakes
    root, upstream = table.text("root", ""), table.text("upstream", "")
    if bool(root) == bool(upstream) and table.mistakes == before:
        table.mistake("", "a route needs exactly one target; set either root or upstream")
    if root and not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises for a long name
        table.mistake("root", f"{show(root)} is not a folder; create it or correct the path")
    if upstream and upstream not in upstreams:
        known = ", ".join(upstreams) or "none"
        table.mistake("upstream", f"unknown upstream {show(upstream)}; declared upstreams: {known}")
    body = table.optional_number("body", 0, 1 << 50)
    timeouts = _read_route_timeouts(table.table("timeouts"))
    for key, value in (("body", body), ("timeouts", timeouts or None)):
        if root and value is not None:
            table.mistake(key, "not allowed in a route to a folder; remove it")
    table.finish()
    folder = Path(os.path.realpath(root)) if root else None
    return Route(prefix, folder, upstream or None, body, timeouts)


def _read_route_timeouts(table: Table) -> tuple[tuple[str, float], ...]:
    values = {name: table.seconds(name, 0.0) for name in ROUTE_TIMEOUTS}
    table.finish()
    return tuple((name, value) for name, value in values.items() if value)
