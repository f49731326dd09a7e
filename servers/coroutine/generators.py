"""Coroutines built on `yield`: straight-line code for many connections in one thread (S8).

`_serve` is the blocking server's loop with a `yield` before each call that could block; the
scheduler resumes it when the call will not block. Each connection keeps its state in its position
in the code, where the readiness loop needs a state object (S9). The cost is one generator per
connection and one switch per wait.
"""

import socket
import time
from typing import Final

from servers.common.connection import Connection
from servers.common.event_server import descriptor_limit, log
from servers.common.session import CLOSE, READ, SENDFILE, WAIT, WRITE
from servers.common.spec import Options, Spec
from servers.common.stopping import GRACE, Waker
from servers.coroutine.scheduler import Coroutine, Readable, Scheduler, Sleep, Task, Writable

SPEC: Final = Spec(
    name="coroutine",
    title="generators that yield their waits",
    family="coroutine",
    processes="one",
    threads="one",
    multiplexer="epoll",
    mode="level",
    model=(
        "Each connection is a generator, written like the blocking server.",
        "Before each call that could block, it yields what it waits for.",
        "A hand-written scheduler over epoll resumes it when the call will not block.",
    ),
    sleeps=(
        "the process in epoll_wait(2), the coroutine at its yield",
        "nowhere: recv copies immediately",
    ),
    good="straight-line code for many connections; seeing what async/await is made of",
    bad="CPU-bound handlers; calls into blocking libraries",
    neighbours=("epoll-lt", "thread", "asyncio", "php-coroutine"),
    source="servers/coroutine/generators.py",
    limits=("a CPU-bound handler stalls every connection",),
    claims=("S8", "S9", "K3"),
    target="servers.coroutine.generators:Generators",
)


_REST = 0.1  # seconds without accepting when there is no descriptor, or no room


class Generators:
    """The server."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._limit = min(options.connections, descriptor_limit())
        self._waker = Waker()
        self._stopping = False
        self._clients: dict[Connection, Task] = {}

    def run(self) -> None:
        """Run until stopped: one coroutine that accepts, one that stops, one per client."""
        self._waker.wake_on_signals()
        self._scheduler = Scheduler()
        acceptor = self._scheduler.spawn(self._accept())
        self._scheduler.spawn(self._stop(acceptor))
        self._scheduler.run()
        self._scheduler.close()

    def _accept(self) -> Coroutine:
        while True:
            if len(self._clients) >= self._limit:
                yield Sleep(_REST)  # the others wait in the backlog
                continue
            yield Readable(self._listener)
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                continue
            except OSError as error:  # EMFILE, ENFILE, ENOBUFS, ENOMEM
                log.warning("cannot accept, trying again in %g s: %s", _REST, error.strerror)
                yield Sleep(_REST)
                continue
            client = Connection(sock, time.monotonic())
            self._clients[client] = self._scheduler.spawn(self._serve(client))

    def _serve(self, client: Connection) -> Coroutine:
        """Serve one client until either side closes."""
        session = client.session
        try:
            while session.need != CLOSE:
                if session.need == READ:
                    if (yield Readable(client.sock, session.deadline)):
                        client.read(time.monotonic())
                    else:
                        session.expire(time.monotonic())
                elif session.need == WAIT:
                    yield Sleep(session.pause)
                    session.resume(time.monotonic())
                elif client.work(time.monotonic()) == CLOSE:
                    return
                elif session.need in (WRITE, SENDFILE) and not (
                    yield Writable(client.sock, session.deadline)
                ):
                    session.expire(time.monotonic())
                if self._stopping:
                    session.drain()
        finally:
            del self._clients[client]
            client.close()

    def _stop(self, acceptor: Task) -> Coroutine:
        """Wait for the signal, then end idle connections, and after GRACE seconds all others."""
        yield Readable(self._waker)
        self._scheduler.cancel(acceptor)
        for client, task in list(self._clients.items()):
            if client.session.idle:
                self._scheduler.cancel(task)
        deadline = time.monotonic() + GRACE
        while self._clients and time.monotonic() < deadline:
            yield Sleep(0.02)
        for task in list(self._clients.values()):
            self._scheduler.cancel(task)

    def stop(self) -> None:
        """Take no more connections, let running requests finish (GRACE), then return."""
        self._stopping = True
        self._waker.wake()

    def close(self) -> None:
        """Close everything."""
        for client in self._clients:
            client.close()
        self._listener.close()
        self._waker.close()
