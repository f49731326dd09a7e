"""asyncio, and uvloop running the same code: the standard event loops, with protocols (S8).

The loop calls `data_received`; the session's output goes to the transport, which buffers whatever
the kernel does not accept and calls `pause_writing` when the buffer is full. Delays use the loop's
timers, files its sendfile. uvloop replaces asyncio's selector loop by libuv: same interface, in C.
"""

import asyncio
import importlib
import socket
from typing import Any, ClassVar, Final, cast

from servers.common.connection import client_of
from servers.common.event_server import descriptor_limit, log
from servers.common.session import CLOSE, READ, SENDFILE, SHUTDOWN, WAIT, WRITE, Session
from servers.common.spec import Options, Spec
from servers.common.stopping import GRACE, Waker

SPEC: Final = Spec(
    name="asyncio",
    title="asyncio, the standard library's event loop",
    family="coroutine",
    processes="one",
    threads="one",
    multiplexer="epoll",
    mode="level",
    model=(
        "asyncio's selector loop calls a protocol object when data arrives.",
        "A transport buffers output and tells the protocol to pause when the buffer fills.",
        "Delays use the loop's timers.",
    ),
    sleeps=(
        "in epoll_wait(2), for all connections at once",
        "nowhere: recv copies immediately",
    ),
    good="access to the asyncio ecosystem",
    bad="small requests: transport, protocol and callbacks cost more than the work",
    neighbours=("uvloop", "coroutine", "epoll-lt"),
    source="servers/coroutine/asyncio_server.py",
    limits=("a CPU-bound handler stalls every connection",),
    claims=("S8",),
    target="servers.coroutine.asyncio_server:AsyncioServer",
)


_SWEEP = 0.5  # seconds between two looks at all deadlines


class AsyncioServer:
    """The server, on asyncio's own loop."""

    loop_module: ClassVar[str] = "asyncio"
    has_sendfile: ClassVar[bool] = True

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._limit = min(options.connections, descriptor_limit())
        self._waker = Waker()
        self.clients: set[_Client] = set()
        self.stopping = False

    def run(self) -> None:
        """Serve until stopped."""
        self._waker.wake_on_signals()
        loop = importlib.import_module(self.loop_module).new_event_loop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        loop.add_reader(self._waker.fileno(), stopped.set)
        acceptor = asyncio.create_task(self._accept())
        while not stopped.is_set():
            for client in [c for c in self.clients if c.session.deadline <= loop.time()]:
                client.expire()
            try:
                await asyncio.wait_for(stopped.wait(), _SWEEP)
            except TimeoutError:
                pass
        loop.remove_reader(self._waker.fileno())
        acceptor.cancel()
        self.stopping = True
        ends_at = loop.time() + GRACE
        while self.clients and loop.time() < ends_at:
            for client in list(self.clients):
                client.drain()
            await asyncio.sleep(0.02)
        for client in list(self.clients):
            client.abort()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if len(self.clients) >= self._limit:
                await asyncio.sleep(0.1)  # the others wait in the backlog
                continue
            try:
                sock, _ = await loop.sock_accept(self._listener)
            except ConnectionError:
                continue
            except OSError as error:  # EMFILE, ENFILE, ENOBUFS, ENOMEM
                log.warning("cannot accept, trying again in 0.1 s: %s", error.strerror)
                await asyncio.sleep(0.1)
                continue
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = client_of(sock)
            await loop.connect_accepted_socket(lambda: _Client(self, client), sock)  # noqa: B023

    def stop(self) -> None:
        """Take no more connections, let running requests finish (GRACE), then return."""
        self._waker.wake()

    def close(self) -> None:
        """Close everything."""
        self._listener.close()
        self._waker.close()


class _Client(asyncio.Protocol):
    """One connection, as asyncio calls it."""

    def __init__(self, server: AsyncioServer, client: str) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.session = Session(client, self._loop.time())
        self._writable = True
        self._eof = False
        self._file_task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.clients.add(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes; while an answer runs the transport does not read."""
        self.session.receive(data, self._loop.time())
        self._work()

    def eof_received(self) -> bool:
        """Handle a half-closed connection: the client may still want its answer."""
        self._eof = True
        if self.session.need == READ:
            self._work()
        return True

    def pause_writing(self) -> None:
        """Stop producing: the transport's buffer is full."""
        self._writable = False

    def resume_writing(self) -> None:
        """Continue producing."""
        self._writable = True
        self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free everything."""
        del exc
        self._server.clients.discard(self)
        self.session.need = CLOSE
        if self._file_task is not None:
            self._file_task.cancel()
        self.session.close()

    def _work(self) -> None:
        """Do what the session needs until it would have to wait."""
        session, transport = self.session, self._transport
        while not transport.is_closing() and self._file_task is None:
            now = self._loop.time()
            if session.need == READ:
                if not self._eof:
                    transport.resume_reading()
                    return
                session.receive(b"", now)
            elif session.need == WRITE:
                if not self._writable:
                    transport.pause_reading()
                    return
                out = session.output
                transport.write(out)
                session.sent(len(out), now)
            elif session.need == SENDFILE and not self._server.has_sendfile:
                session.load(now)
            elif session.need == SENDFILE:
                transport.pause_reading()
                self._file_task = self._loop.create_task(self._send_file())
            elif session.need == WAIT:
                transport.pause_reading()
                self._loop.call_later(session.pause, self._resume)
                return
            elif session.need == SHUTDOWN:
                transport.write_eof()
                session.shut(now)
            else:
                transport.close()  # once everything written has been sent
                return

    def _resume(self) -> None:
        if not self._transport.is_closing():
            self.session.resume(self._loop.time())
            self._work()

    async def _send_file(self) -> None:
        file = self.session.file
        assert file is not None
        with open(file.descriptor, "rb", closefd=False) as opened:
            try:
                sent = await self._loop.sendfile(
                    self._transport, cast(Any, opened), file.offset, file.length
                )
            except OSError:
                self._transport.abort()
                return
        self._file_task = None
        self.session.sent(sent, self._loop.time())
        self._work()

    def expire(self) -> None:
        """Act on the deadline."""
        self.session.expire(self._loop.time())
        if self.session.need == CLOSE:
            self._transport.abort()  # the client has stopped reading
        else:
            self._work()

    def drain(self) -> None:
        """Close now if idle, else after the answer."""
        self.session.drain()
        self._work()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()
