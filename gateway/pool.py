"""The connections to one upstream: kept, shared, limited, and a queue in front of them.

A FastCGI responder that serves one request per process makes every connection beyond its
processes wait inside the kernel, where nobody sees it and who waits longest is not served first.
So the gateway opens no more connections than the responder says it takes (FCGI_GET_VALUES), and
what waits, waits here: first come, first served, bounded, with a time limit. The connection used
last is used next, so that a quiet upstream keeps few processes warm.

The back ends may come and go (`discovery`): one that is gone finishes what it runs, and no more.
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

_AVOID: Final = 1.0  # seconds a back end is passed over after a failed connect
_ASK: Final = 1.0  # seconds that FCGI_GET_VALUES may take
_ASK_AGAIN: Final = 5.0  # seconds between two questions to one that answers
_ASK_MUTE: Final = 60.0  # to one that does not: the question holds a worker of its for a while
_SHORT_LIVES: Final = 3  # connections in a row, closed after one answer: it keeps none
_KEEP_AGAIN: Final = 60.0  # seconds until that is tried again


class Backend:
    """One address of an upstream and what we know of it."""

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
        self.limit = limit  # connections at most
        self.known = known  # whether the limit is final; until then nothing is sent
        self.open = 0  # connections, idle ones too
        self.idle: list[UpstreamConnection] = []
        self.connecting: set[UpstreamConnection] = set()
        self.gone = False  # its address is the upstream's no more
        self.avoid_until = 0.0
        self.ask_after = 0.0  # when it may be asked again how much it takes
        self.short_lives = 0  # connections in a row that it closed after their first answer
        self.keep_after = 0.0  # until then a connection carries one request

    @property
    def free(self) -> bool:
        """Whether it takes a request now."""
        return self.known and (bool(self.idle) or self.open < self.limit)

    @property
    def load(self) -> float:
        """Requests running, as a share of its limit."""
        return (self.open - len(self.idle)) / self.limit

    def note_failure(self, now: float) -> None:
        """Pass it over for a while, if there are others."""
        self.avoid_until = now + _AVOID

    def note_short_life(self, now: float) -> None:
        """Learn from one that closes what it was asked to keep, as uwsgi does: to reuse such a
        connection is a race, lost at the cost of the next request."""
        self.short_lives += 1
        if self.short_lives >= _SHORT_LIVES:
            self.keep_after = now + _KEEP_AGAIN


class Pool:
    """All back ends of one upstream, in one process."""

    def __init__(
        self, process: "Process", config: Config, upstream: Upstream, processes: int
    ) -> None:
        self.process = process
        self.loop: Loop = process.loop
        self.upstream = upstream
        self.config = config
        self.exchanges = 0  # that have begun and not ended
        self._retired = False
        self._processes = processes
        self._kind = FastCGIConnection if upstream.protocol == "fastcgi" else HttpConnection
        self._queue: deque[ProxyExchange] = deque()
        self._serving = False
        self._turn = 0
        self._share = max(1, upstream.connections // processes)
        self._asks = upstream.protocol == "fastcgi"
        self._discovery = Discovery(upstream.addresses)
        self._addresses: tuple[Address, ...] = ()
        self._backends: list[Backend] = []
        self._only: Backend | None = None  # the usual case: there is nothing to choose
        self._take_addresses(self._discovery.found)

    @property
    def busy(self) -> bool:
        """Whether requests run or wait."""
        return self.exchanges > 0

    @property
    def several(self) -> bool:
        """Whether there is more than one back end."""
        return self._only is None

    def retire(self) -> None:
        """Finish what runs or waits, keep no connection: another configuration holds."""
        self._retired = True
        self._discovery.stop()
        self.close_idle()

    def _take_addresses(self, addresses: tuple[Address, ...]) -> None:
        """Have a back end for each address: keep those there are, add, let go."""
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
        """Send `exchange` to a back end now, or when one is free; fail it when too many wait."""
        backend = None if self._queue else self._only or self._choose(exchange)
        if backend is not None and backend.idle and not exchange.retried:
            backend.idle.pop().start(exchange, exchange.submitted_at)
        elif backend is not None and backend.free:
            self._run(exchange, backend)
        elif len(self._queue) >= self.upstream.queue:
            exchange.fail(503, f"{len(self._queue)} requests wait already")
        else:
            self._queue.append(exchange)

    def cancel(self, exchange: "ProxyExchange") -> None:
        """Take `exchange` from the queue: its client is gone."""
        if exchange in self._queue:
            self._queue.remove(exchange)

    def has_other(self, exchange: "ProxyExchange") -> bool:
        """Whether there is a back end that `exchange` has not tried to reach."""
        return any(backend not in exchange.tried for backend in self._backends)

    def _choose(self, exchange: "ProxyExchange") -> Backend | None:
        """Return the back end that is next by the rule of the balance; None when all are full."""
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
            connection.close()  # the one before was dead; a new one is not
        if not backend.open and self._asks and now >= backend.ask_after:
            Question(self, backend)  # it may have been started anew, with other limits
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
        """Take back a connection that may carry another request."""
        backend = connection.backend
        if backend.gone or backend.open > backend.limit or self.loop.now < backend.keep_after:
            connection.close()  # the back end takes fewer than it used to, or keeps none
        elif self._queue:
            if self._queue[0].retried:
                connection.close()  # which serves the queue, by a new one
            else:
                connection.start(self._queue.popleft(), self.loop.now)
        else:
            backend.idle.append(connection)

    def on_closed(self, connection: UpstreamConnection) -> None:
        """Count a connection out."""
        backend = connection.backend
        backend.open -= 1
        if connection in backend.idle:
            backend.idle.remove(connection)
        self.serve_queue()

    def on_limit(self, backend: Backend, limit: int | None) -> None:
        """Take what the back end says it takes; None when it does not say."""
        if limit is not None:
            backend.limit = min(self._share, max(1, limit // self._processes))
        backend.known = True
        self.serve_queue()

    def serve_queue(self) -> None:
        """Give what waits to whoever is free, first come, first served."""
        if self._serving:
            return  # further up in the stack the loop below goes on
        self._serving = True
        try:
            while self._queue and (backend := self._choose(self._queue[0])):
                self._run(self._queue.popleft(), backend)
        finally:
            self._serving = False

    def sweep(self) -> None:
        """Turn away what has waited too long; a retired pool lets its connections go."""
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
            told = ", ".join(map(str, addresses))
            self.process.error_log.info(f"upstream {self.upstream.name}: now at {told}")
            self._take_addresses(addresses)
            self.serve_queue()
        self._addresses = addresses

    def close_idle(self) -> None:
        """Close the connections that carry nothing."""
        for backend in self._backends:
            for connection in list(backend.idle):
                connection.close()


class Question:
    """FCGI_GET_VALUES on a connection of its own: how much does this back end take at once?"""

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
        """Ask once connected; read the answer."""
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
        said = [values[name] for name in (MAX_CONNS, MAX_REQS) if name in values]
        self._end(min((int(v) for v in said if v.isdigit() and int(v) > 0), default=None))

    def on_deadline(self) -> None:
        """It does not answer: it does not know the question."""
        self._backend.ask_after = self._pool.loop.now + _ASK_MUTE
        self._end(None)

    def _end(self, limit: int | None) -> None:
        self._pool.loop.close(self._sock)
        self._pool.loop.forget(self)
        self._pool.on_limit(self._backend, limit)
