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
from typing import TYPE_CHECKING, Final

from chainlab.transport import Address
from chainlab.wire.fastcgi import (
    MAX_CONNS,
    MAX_REQS,
    NEED_DATA,
    ClientConnection,
    ProtocolError,
    Values,
)
from gateway.config import Config, Upstream
from gateway.discovery import Discovery
from gateway.fastcgi_upstream import FastCGIConnection
from gateway.http_upstream import HttpConnection
from gateway.loop import READ, WRITE, Loop
from gateway.upstream_connection import UpstreamConnection, open_connection

if TYPE_CHECKING:
    from gateway.exchange import ProxyExchange
    from gateway.process import Process

_AVOID: Final = 1.0  # seconds to avoid a backend after a failed connect
_ASK: Final = 1.0  # timeout of FCGI_GET_VALUES, in seconds
_ASK_AGAIN: Final = 5.0  # seconds between two queries to a backend that answers
_ASK_MUTE: Final = 60.0  # the same for one that does not: each query occupies one of its workers
_SHORT_LIVES: Final = 3  # connections in a row closed after one response: stop keeping them
_KEEP_AGAIN: Final = 60.0  # seconds until the pool tries to keep connections again


class Backend:
    """One address of an upstream, and its state."""

    __slots__ = (
        "address",
        "ask_after",
        "avoid_until",
        "connecting",
        "family",
        "gone",
        "idle",
        "keep_after",
        "known",
        "limit",
        "open",
        "short_lives",
        "sockaddr",
    )

    def __init__(self, address: Address, limit: int, *, known: bool) -> None:
        self.address = address
        self.family = address.family
        self.sockaddr = address.sockaddr
        self.limit = limit  # maximum connections
        self.known = known  # False while the limit is being queried; requests wait until then
        self.open = 0  # open connections, including idle ones
        self.idle: list[UpstreamConnection] = []
        self.connecting: set[UpstreamConnection] = set()
        self.gone = False  # the upstream no longer has this address
        self.avoid_until = 0.0
        self.ask_after = 0.0  # earliest time of the next FCGI_GET_VALUES
        self.short_lives = 0  # consecutive connections closed after their first response
        self.keep_after = 0.0  # no connection is reused before this time

    @property
    def free(self) -> bool:
        """True if the backend can take a request now."""
        return self.known and (bool(self.idle) or self.open < self.limit)

    @property
    def load(self) -> float:
        """Busy connections as a fraction of the limit."""
        return (self.open - len(self.idle)) / self.limit

    def note_failure(self, now: float) -> None:
        """Avoid this backend for a while, if there are others."""
        self.avoid_until = now + _AVOID

    def note_short_life(self, now: float) -> None:
        """Count a connection that the backend closed although asked to keep it, as uwsgi does.

        Reusing such a connection is a race with the close, and losing it fails a request.
        """
        self.short_lives += 1
        if self.short_lives >= _SHORT_LIVES:
            self.keep_after = now + _KEEP_AGAIN


class Pool:
    """All backends of one upstream, in one process."""

    def __init__(
        self, process: "Process", config: Config, upstream: Upstream, processes: int
    ) -> None:
        self.process = process
        self.loop: Loop = process.loop
        self.upstream = upstream
        self.config = config
        self.exchanges = 0  # queued or running
        self._retired = False
        self._processes = processes
        self._kind = FastCGIConnection if upstream.protocol == "fastcgi" else HttpConnection
        self._queue: deque[ProxyExchange] = deque()
        self._serving = False
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
            Question(self, backend)
        return backend

    # Requests

    def submit(self, exchange: "ProxyExchange") -> None:
        """Start `exchange` on a backend or queue it; fail it if the queue is full."""
        backend = None if self._queue else self._only or self._choose(exchange)
        if backend is not None and backend.idle and not exchange.retried:
            backend.idle.pop().start(exchange, exchange.submitted_at)
        elif backend is not None and backend.free:
            self._run(exchange, backend)
        elif len(self._queue) >= self.upstream.queue:
            exchange.fail(503, f"the queue is full with {len(self._queue)} requests")
        else:
            self._queue.append(exchange)

    def cancel(self, exchange: "ProxyExchange") -> None:
        """Remove `exchange` from the queue: its client is gone."""
        if exchange in self._queue:
            self._queue.remove(exchange)

    def has_other(self, exchange: "ProxyExchange") -> bool:
        """True if there is a backend that `exchange` has not tried yet."""
        return any(backend not in exchange.tried for backend in self._backends)

    def _choose(self, exchange: "ProxyExchange") -> Backend | None:
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
        if self.upstream.balance == "least-connections":
            return min(free, key=lambda backend: backend.load)
        while True:
            self._turn = (self._turn + 1) % len(backends)
            if backends[self._turn] in free:
                return backends[self._turn]

    def _run(self, exchange: "ProxyExchange", backend: Backend) -> None:
        now = self.loop.now
        if backend.idle:
            connection = backend.idle.pop()
            if not exchange.retried:
                connection.start(exchange, now)
                return
            connection.close()  # a retry follows a dead kept connection: use a new one
        if not backend.open and self._asks and now >= backend.ask_after:
            Question(self, backend)  # the backend may have restarted with new limits
        try:
            connection = self._kind(self, backend)
        except OSError as error:
            backend.note_failure(now)
            exchange.assigned_at = now
            exchange.on_unreachable(backend, 502, f"cannot connect: {error.strerror}")
            return
        backend.open += 1
        connection.start(exchange, now)

    # Connections

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a reusable connection."""
        backend = connection.backend
        if backend.gone or backend.open > backend.limit or self.loop.now < backend.keep_after:
            connection.close()  # the backend is gone, lowered its limit, or keeps no connections
        elif self._queue:
            if self._queue[0].retried:
                connection.close()  # on_closed then serves the queue with a new connection
            else:
                connection.start(self._queue.popleft(), self.loop.now)
        else:
            backend.idle.append(connection)

    def on_closed(self, connection: UpstreamConnection) -> None:
        """Forget a closed connection and serve the queue."""
        backend = connection.backend
        backend.open -= 1
        if connection in backend.idle:
            backend.idle.remove(connection)
        self.serve_queue()

    def on_limit(self, backend: Backend, limit: int | None) -> None:
        """Apply the limit that the backend reports; None if it reports no limit."""
        if limit is not None:
            backend.limit = min(self._share, max(1, limit // self._processes))
        backend.known = True
        self.serve_queue()

    def serve_queue(self) -> None:
        """Start queued requests on free backends, first come, first served."""
        if self._serving:
            return  # reentrant call: the outer loop below continues
        self._serving = True
        try:
            while self._queue and (backend := self._choose(self._queue[0])):
                self._run(self._queue.popleft(), backend)
        finally:
            self._serving = False

    def sweep(self) -> None:
        """Fail requests queued for too long; pick up new addresses; drain a retired pool."""
        earliest = self.loop.now - self.config.timeouts.queue
        while self._queue and self._queue[0].submitted_at < earliest:
            exchange = self._queue.popleft()
            exchange.fail(503, f"no free connection within {self.config.timeouts.queue:g} s")
        if self._retired:
            self.close_idle()
        elif self._addresses is not self._discovery.found:
            self._change(self._discovery.found)

    def _change(self, addresses: tuple[Address, ...]) -> None:
        if addresses != self._addresses:
            listed = ", ".join(map(str, addresses))
            self.process.error_log.info(f"upstream {self.upstream.name}: now at {listed}")
            self._take_addresses(addresses)
            self.serve_queue()
        self._addresses = addresses

    def close_idle(self) -> None:
        """Close all idle connections."""
        for backend in self._backends:
            for connection in list(backend.idle):
                connection.close()


class Question:
    """Asks a backend for its limits, with FCGI_GET_VALUES on a separate connection."""

    def __init__(self, pool: Pool, backend: Backend) -> None:
        self._pool = pool
        self._backend = backend
        self._protocol = ClientConnection()
        self._asked = False
        self.deadline = pool.loop.now + _ASK
        try:
            self._sock, _ = open_connection(backend)
        except OSError:
            pool.on_limit(backend, None)
            return
        backend.ask_after = pool.loop.now + _ASK_AGAIN
        pool.loop.register(self._sock, WRITE, self.on_event)
        pool.loop.watch(self)

    def on_event(self, _mask: int) -> None:
        """Send the query once connected, then read the answer."""
        try:
            if not self._asked:
                self._asked = True
                self._sock.send(self._protocol.get_values())
                self._pool.loop.modify(self._sock, READ)
                return
            data = self._sock.recv(4096)
            self._protocol.receive_data(data)
            event = self._protocol.next_event() if data else None
        except BlockingIOError:
            return
        except (OSError, ProtocolError):
            event = None
        if event is NEED_DATA:
            return
        if event is None:
            self._backend.ask_after = self._pool.loop.now + _ASK_MUTE
        values = event.values if isinstance(event, Values) else {}
        limits = [values[name] for name in (MAX_CONNS, MAX_REQS) if name in values]
        self._end(min((int(v) for v in limits if v.isdigit() and int(v) > 0), default=None))

    def on_deadline(self) -> None:
        """Give up: a backend that stays silent does not support FCGI_GET_VALUES."""
        self._backend.ask_after = self._pool.loop.now + _ASK_MUTE
        self._end(None)

    def _end(self, limit: int | None) -> None:
        self._pool.loop.close(self._sock)
        self._pool.loop.forget(self)
        self._pool.on_limit(self._backend, limit)
