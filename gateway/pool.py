"""The connection pool of one upstream: kept connections, limits, and a queue for waiting requests.

If a FastCGI responder serves one request per process, surplus connections wait in the kernel,
invisible and in no fair order. So the gateway opens only as many connections as the responder says
it accepts (FCGI_GET_VALUES) and queues requests here: first come, first served, bounded, with a
timeout. It reuses the most recently used connection first, which keeps a few processes of a quiet
upstream warm.

Backends may come and go (`discovery`): a vanished one finishes its running requests and gets no
new ones.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from chainlab.transport import Address
from gateway.backend import Backend
from gateway.config import Config, Upstream
from gateway.discovery import Discovery
from gateway.failure import LOCAL_ERRORS, Failure, Kind
from gateway.question import Question
from gateway.services import Services
from gateway.upstream_connection import Lender, Requester, UpstreamConnection

Connect = Callable[[Lender, Backend], UpstreamConnection]
"""Makes a connection; OSError if it fails at once."""

_LOOK_AHEAD: Final = 64  # queued requests to look at for one that a free backend may take


class Pool(Lender):
    """All backends of one upstream, in one process."""

    def __init__(
        self,
        services: Services,
        config: Config,
        upstream: Upstream,
        processes: int,
        connect: Connect,
    ) -> None:
        self.services = services
        self.loop = services.loop
        self.upstream = upstream
        self.config = config
        self.exchanges = 0  # queued or running
        self._retired = False
        self._processes = processes
        self._connect = connect
        self._queue: deque[Requester] = deque()
        self._scheduled = False  # `serve_queue` runs after this batch
        self._turn = 0
        self._share = max(1, upstream.connections // processes)
        self._asks = upstream.protocol == "fastcgi"
        self._discovery = Discovery(upstream.addresses, upstream.found)
        self._addresses: tuple[Address, ...] = ()
        self._backends: list[Backend] = []
        self._only: Backend | None = None  # the backend, if there is just one: nothing to balance
        self._take_addresses(self._discovery.found)

    @property
    def busy(self) -> bool:
        """True if requests are running or queued."""
        return self.exchanges > 0

    @property
    def several(self) -> bool:
        """True unless there is exactly one backend."""
        return self._only is None

    def retire(self) -> None:
        """Finish running and queued requests, keep no connection: a new generation took over."""
        self._retired = True
        self._discovery.stop()
        self.close_idle()

    def _take_addresses(self, addresses: tuple[Address, ...]) -> None:
        """Match the backends to `addresses`: keep known ones, add new ones, drop the rest."""
        before = {backend.address: backend for backend in self._backends}
        self._addresses = addresses
        self._backends = [before.get(a) or self._new_backend(a) for a in addresses]
        self._only = self._backends[0] if len(self._backends) == 1 else None
        self._turn = 0
        for backend in set(before.values()) - set(self._backends):
            backend.gone = True
            for connection in (*backend.idle, *backend.connecting):
                connection.on_gone()

    def _new_backend(self, address: Address) -> Backend:
        backend = Backend(address, self._share, known=not self._asks)
        if self._asks:
            Question(self.loop, backend, self.on_limit)
        return backend

    # Requests

    def submit(self, exchange: Requester) -> None:
        """Start `exchange` on a backend or queue it; fail it if the queue is full."""
        backend = None if self._queue else self._only or self._choose(exchange)
        if backend is not None and backend.idle and not exchange.retried:
            backend.idle.pop().start(exchange, exchange.submitted_at)
        elif backend is not None and backend.free:
            self._run(exchange, backend)
        elif len(self._queue) >= self.upstream.queue:
            self._refuse(exchange, f"the queue is full with {len(self._queue)} requests")
        else:
            self._queue.append(exchange)

    def cancel(self, exchange: Requester) -> None:
        """Remove `exchange` from the queue: its client is gone."""
        if exchange in self._queue:
            self._queue.remove(exchange)

    def has_other(self, exchange: Requester) -> bool:
        """True if there is a backend that `exchange` has not tried yet."""
        return any(backend not in exchange.tried for backend in self._backends)

    def _refuse(self, exchange: Requester, cause: str) -> None:
        exchange.on_failure(Failure(Kind.LOCAL, 503, cause))

    def _choose(self, exchange: Requester) -> Backend | None:
        """Pick a backend by the balancing rule; None if all are full."""
        backends = self._backends
        if self._only is not None:
            return self._only if self._only.free else None
        now = self.loop.now
        usable = [b for b in backends if b not in exchange.tried]
        usable = [b for b in usable if b.avoid_until <= now] or usable
        free = [b for b in usable if b.free]
        if not free:
            return None
        turn = self._turn = (self._turn + 1) % len(backends)
        in_turn = backends[turn:] + backends[:turn]
        free = [b for b in in_turn if b in free]
        if self.upstream.balance == "least-connections":
            return min(free, key=lambda backend: backend.load)  # the first of equals, in turn
        self._turn = backends.index(free[0])
        return free[0]

    def _run(self, exchange: Requester, backend: Backend) -> None:
        now = self.loop.now
        if backend.idle:
            if not exchange.retried:
                backend.idle.pop().start(exchange, now)
                return
            backend.idle[-1].close()  # a retry follows a dead kept connection: use a new one
        if not backend.open and self._asks and now >= backend.ask_after:
            # The backend may have restarted with new limits.
            Question(self.loop, backend, self.on_limit)
        try:
            connection = self._connect(self, backend)
        except OSError as error:
            exchange.assigned_at = now
            cause = f"cannot connect: {error.strerror}"
            if error.errno in LOCAL_ERRORS:
                exchange.on_failure(Failure(Kind.LOCAL, 503, cause))
                return
            backend.note_failure(now)
            exchange.on_failure(Failure(Kind.REFUSED, 502, cause, backend))
            return
        backend.open += 1
        connection.start(exchange, now)

    # Connections

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a reusable connection."""
        backend = connection.backend
        if backend.gone or backend.open > backend.limit or self.loop.now < backend.keep_after:
            connection.close()  # the backend is gone, lowered its limit, or keeps no connections
            return
        backend.idle.append(connection)
        if self._queue:
            self._serve_soon()

    def on_closed(self, connection: UpstreamConnection) -> None:
        """Forget a closed connection and serve the queue."""
        backend = connection.backend
        backend.open -= 1
        if connection in backend.idle:
            backend.idle.remove(connection)
        if self._queue:
            self._serve_soon()

    def on_limit(self, backend: Backend, limit: int | None) -> None:
        """Apply the limit that the backend reports; None if it reports no limit."""
        if limit is not None:
            backend.limit = min(self._share, max(1, limit // self._processes))
        backend.known = True
        if self._queue:
            self._serve_soon()

    def _serve_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.loop.soon(self.serve_queue)

    def serve_queue(self) -> None:
        """Start queued requests on free backends, first come, first served."""
        self._scheduled = False
        while self._queue and (found := self._next()):
            exchange, backend = found
            self._queue.remove(exchange)  # almost always the first
            self._run(exchange, backend)

    def _next(self) -> tuple[Requester, Backend] | None:
        """Return the first request that a free backend may take.

        A request that has tried all free backends does not hold up those behind it.
        """
        for exchange in islice(self._queue, _LOOK_AHEAD):
            backend = self._choose(exchange)
            if backend is not None:
                return exchange, backend
            if not exchange.tried:
                return None  # every backend is full
        return None

    def sweep(self) -> None:
        """Fail requests queued for too long; pick up new addresses; drain a retired pool."""
        earliest = self.loop.now - self.config.timeouts.queue
        while self._queue and self._queue[0].submitted_at < earliest:
            exchange = self._queue.popleft()
            self._refuse(exchange, f"no free connection within {self.config.timeouts.queue:g} s")
        if self._retired:
            self.close_idle()
        elif self._addresses is not self._discovery.found:
            self._change(self._discovery.found)

    def _change(self, addresses: tuple[Address, ...]) -> None:
        if addresses != self._addresses:
            listed = ", ".join(map(str, addresses))
            self.services.error_log.info(f"upstream {self.upstream.name}: now at {listed}")
            self._take_addresses(addresses)
            self.serve_queue()
        self._addresses = addresses

    def close_idle(self) -> None:
        """Close all idle connections."""
        for backend in self._backends:
            for connection in list(backend.idle):
                connection.close()
