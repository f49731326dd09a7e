"""Chooses the route for a request, once per head.

Prefixes match the normalized path, as in nginx: percent-decoded, with dot segments resolved and
repeated slashes merged. Otherwise `/%61dmin` or `/x/../admin` could bypass a route for `/admin`.
The upstream receives the original path. The longest prefix wins.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final
from urllib.parse import unquote_to_bytes

from chainlab.wire.http1 import RequestHead
from gateway.client import Client
from gateway.config import Config
from gateway.exchange import ProxyExchange
from gateway.fastcgi_upstream import FastCGIConnection
from gateway.http_upstream import HttpConnection
from gateway.params import Peer, RequestPlan
from gateway.pool import Connect, Pool
from gateway.services import Services
from gateway.static import StaticRoute
from gateway.tracing import TracedExchange

Begin = Callable[[Client, RequestHead, RequestPlan], None]

_CONNECTIONS: Final[dict[str, Connect]] = {"fastcgi": FastCGIConnection, "http": HttpConnection}
"""What a pool connects with, by the protocol of its upstream."""

_ALLOW = (b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")


class Generation:
    """One loaded configuration in one process, with its pools and static routes."""

    def __init__(
        self,
        services: Services,
        config: Config,
        generation: int,
        processes: int,
        answer_status: Begin,
    ) -> None:
        self.config = config
        self.number = generation
        self._services = services
        self._answer_status = answer_status
        self.pools = {
            name: Pool(services, config, upstream, processes, _CONNECTIONS[upstream.protocol])
            for name, upstream in config.upstreams.items()
        }
        traced = config.server_timing or config.traceparent
        self._exchange = TracedExchange if traced else ProxyExchange
        self._timeouts = {
            route.prefix: replace(config.timeouts, **dict(route.timeouts))
            for route in config.routes
        }
        self._static = {
            route.prefix: StaticRoute(services, route.prefix, route.root)
            for route in config.routes
            if route.root
        }

    def plan(self, head: RequestHead, peer: Peer) -> RequestPlan:
        """Return the plan for requests with this head from this peer."""
        path = resolve_path(head.path)
        if head.method == b"TRACE":  # TRACE would echo fields that a script must not read
            return self._plan(head, peer, path, _refuse_method)
        if path == "*":
            return self._plan(head, peer, path, _answer_options)
        if path is None:
            return self._plan(head, peer, "", _refuse_path)
        if path == self.config.status_path:
            plan = self._plan(head, peer, path, self._answer_status)
            if plan.origin.remote not in self.config.status_allow:
                plan.begin = _forbid
            return plan
        for route in self.config.routes:
            if path.startswith(route.prefix):
                if route.upstream is None:
                    return self._plan(head, peer, path, self._static[route.prefix].begin)
                pool = self.pools[route.upstream]
                plan = RequestPlan(
                    head, peer, self.number, pool.upstream,
                    traced=self.config.traceparent, timed=self.config.server_timing,
                    trusted=self.config.trusted,
                )  # fmt: skip
                plan.begin = _Proxy(self._services, pool, self._exchange).begin
                plan.timeouts = self._timeouts[route.prefix]
                plan.body_limit = route.body
                return plan
        return self._plan(head, peer, path, _not_found)

    def _plan(self, head: RequestHead, peer: Peer, path: str | None, begin: Begin) -> RequestPlan:
        plan = RequestPlan(head, peer, self.number, trusted=self.config.trusted)
        plan.timeouts = self.config.timeouts
        plan.path = path or ""
        plan.begin = begin
        return plan


class _Proxy:
    """The handler of a proxied route: starts an exchange on one pool."""

    __slots__ = ("_exchange", "_pool", "_services")

    def __init__(self, services: Services, pool: Pool, exchange: type[ProxyExchange]) -> None:
        self._exchange = exchange
        self._services = services
        self._pool = pool

    def begin(self, client: Client, head: RequestHead, plan: RequestPlan) -> None:
        client.exchange = exchange = self._exchange(self._services, client, head, plan, self._pool)
        exchange.begin()


def resolve_path(path: bytes) -> str | None:
    """Return `path` decoded and without dot segments; None if it leads above the root.

    surrogateescape keeps undecodable bytes, so the result still names the same file.
    """
    text = unquote_to_bytes(path).decode("utf-8", "surrogateescape")
    if "//" not in text and "/." not in text:
        return text
    kept: list[str] = []
    segments = text.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if not kept:
                return None
            kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    slash = "/" if kept and segments[-1] in ("", ".", "..") else ""
    return "/" + "/".join(kept) + slash


def _not_found(client: Client, head: RequestHead, _plan: RequestPlan) -> None:
    client.refuse(404, head)


def _forbid(client: Client, head: RequestHead, _plan: RequestPlan) -> None:
    client.refuse(403, head)


def _refuse_path(client: Client, head: RequestHead, _plan: RequestPlan) -> None:
    client.refuse(400, head, "the path leads above the root")


def _refuse_method(client: Client, head: RequestHead, _plan: RequestPlan) -> None:
    client.answer(405, b"405 Method Not Allowed\n", head, _ALLOW)


def _answer_options(client: Client, head: RequestHead, _plan: RequestPlan) -> None:
    client.answer(204, b"", head, _ALLOW)
