"""Which part of the configuration serves a request, decided once for each head.

Prefixes are compared with the path as it is meant, not as it is written: percent-encoding
undone, dot segments resolved, repeated slashes joined, as nginx does. Otherwise `/%61dmin` or
`/x/../admin` would reach what `/admin` is routed away from. What an upstream is told is the path
as it came. The longest prefix wins.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from chainlab.wire.http1 import RequestHead
from gateway.client import Client
from gateway.config import Config
from gateway.exchange import ProxyExchange
from gateway.params import Peer, RequestPlan
from gateway.pool import Pool
from gateway.static import StaticRoute
from gateway.tracing import TracedExchange

if TYPE_CHECKING:
    from gateway.process import Process

Begin = Callable[[Client, RequestHead, RequestPlan], None]

_ALLOW = (b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")


class Generation:
    """One generation of the configuration, at work in one process."""

    def __init__(self, process: "Process", config: Config, generation: int, processes: int) -> None:
        self.config = config
        self.generation = generation
        self._process = process
        self.pools = {
            name: Pool(process, config, upstream, processes)
            for name, upstream in config.upstreams.items()
        }
        traced = config.server_timing or config.traceparent
        self._exchange = TracedExchange if traced else ProxyExchange
        self._static = {
            route.prefix: StaticRoute(process, route.prefix, route.root)
            for route in config.routes
            if route.root
        }

    def prepare(self, head: RequestHead, peer: Peer) -> RequestPlan:
        """Return who serves requests with this head, and what an upstream is told of them."""
        path = resolve_path(head.path)
        if head.method == b"TRACE":  # would show a script the fields it may not read
            return self._prepare(head, peer, path, _refuse_method)
        if path == "*":
            return self._prepare(head, peer, path, _answer_options)
        if path is None:
            return self._prepare(head, peer, "", _refuse_path)
        if path == self.config.status_path:
            return self._prepare(head, peer, path, self._process.answer_status)
        for route in self.config.routes:
            if path.startswith(route.prefix):
                if route.upstream is None:
                    return self._prepare(head, peer, path, self._static[route.prefix].begin)
                pool = self.pools[route.upstream]
                prepared = RequestPlan(
                    head, peer, self.generation, pool.upstream,
                    traced=self.config.traceparent, timed=self.config.server_timing,
                )  # fmt: skip
                prepared.begin = _Proxy(self._process, pool, self._exchange).begin
                return prepared
        return self._prepare(head, peer, path, _not_found)

    def _prepare(
        self, head: RequestHead, peer: Peer, path: str | None, begin: Begin
    ) -> RequestPlan:
        prepared = RequestPlan(head, peer, self.generation)
        prepared.path = path or ""
        prepared.begin = begin
        return prepared


class _Proxy:
    """Begins an exchange with one pool."""

    __slots__ = ("_exchange", "_pool", "_process")

    def __init__(self, process: "Process", pool: Pool, exchange: type[ProxyExchange]) -> None:
        self._exchange = exchange
        self._process = process
        self._pool = pool

    def begin(self, client: Client, head: RequestHead, prepared: RequestPlan) -> None:
        client.exchange = exchange = self._exchange(
            self._process, client, head, prepared, self._pool
        )
        exchange.begin()


def resolve_path(path: bytes) -> str | None:
    """Return `path` decoded and without dot segments; None when it leads above the root.

    Bytes become characters one to one (surrogateescape), so that it names the same file.
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


def _not_found(client: Client, head: RequestHead, _prepared: RequestPlan) -> None:
    client.refuse(404, head)


def _refuse_path(client: Client, head: RequestHead, _prepared: RequestPlan) -> None:
    client.refuse(400, head, "the path leads above the root")


def _refuse_method(client: Client, head: RequestHead, _prepared: RequestPlan) -> None:
    client.answer(405, b"405 Method Not Allowed\n", head, _ALLOW)


def _answer_options(client: Client, head: RequestHead, _prepared: RequestPlan) -> None:
    client.answer(204, b"", head, _ALLOW)
