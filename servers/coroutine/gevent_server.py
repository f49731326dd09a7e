"""gevent: greenlets, coroutines with their own stacks, on libev (S8).

The code is identical to the blocking server's and contains no `yield`: where a kernel socket would
block, gevent's socket switches to another greenlet, at any call depth. Blocking libraries work if
their sockets are replaced. The cost is a saved stack per connection, and switches that are
invisible in the source.
"""

import os
import socket
import time
from functools import partial
from typing import Any, Final

from servers.common.connection import client_of, reset
from servers.common.event_server import descriptor_limit, log
from servers.common.packages import without_package
from servers.common.session import CLOSE, READ, RECEIVE, SENDFILE, SHUTDOWN, WAIT, WRITE, Session
from servers.common.spec import Options, Spec
from servers.common.stopping import GRACE, Waker

SPEC: Final = Spec(
    name="gevent",
    title="greenlets: coroutines with their own stacks",
    family="coroutine",
    processes="one",
    threads="one, with a greenlet per connection",
    multiplexer="epoll",
    mode="level",
    model=(
        "The blocking server's code, without a yield: where a kernel socket would",
        "block, the socket's methods switch to another greenlet, at any call depth.",
    ),
    sleeps=(
        "the process in epoll_wait(2) (libev), the greenlet in recv",
        "nowhere: recv copies immediately",
    ),
    good="existing blocking code and libraries",
    bad="seeing where a switch can happen",
    neighbours=("coroutine", "thread", "go"),
    source="servers/coroutine/gevent_server.py",
    limits=("a CPU-bound handler stalls every connection",),
    claims=("S8",),
    target="servers.coroutine.gevent_server:Gevent",
    probe=partial(without_package, "gevent", "pip install gevent"),
)


_PIECE = 1 << 20  # bytes for one sendfile


class Gevent:
    """The server."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._limit = min(options.connections, descriptor_limit())
        self._waker = Waker()
        self._clients: dict[Any, Session] = {}  # by greenlet
        self._stopping = False

    def run(self) -> None:
        """Serve until stopped."""
        import gevent.socket

        self._gevent: Any = gevent
        self._waker.wake_on_signals()
        acceptor = self._gevent.spawn(self._accept)
        self._gevent.socket.wait_read(self._waker.fileno())
        acceptor.kill()
        self._stopping = True
        self._gevent.killall([g for g, session in self._clients.items() if session.idle])
        self._gevent.joinall(list(self._clients), timeout=GRACE)
        self._gevent.killall(list(self._clients))

    def _accept(self) -> None:
        while True:
            self._gevent.socket.wait_read(self._listener.fileno())
            if len(self._clients) >= self._limit:
                self._gevent.sleep(0.1)  # the others wait in the backlog
                continue
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                continue
            except OSError as error:  # EMFILE, ENFILE, ENOBUFS, ENOMEM
                log.warning("cannot accept, trying again in 0.1 s: %s", error.strerror)
                self._gevent.sleep(0.1)
                continue
            client = Session(client_of(sock), time.monotonic())
            self._clients[self._gevent.spawn(self._serve, sock, client)] = client

    def _serve(self, accepted: socket.socket, session: Session) -> None:
        """Serve one client until either side closes."""
        family = accepted.family
        sock = self._gevent.socket.socket(family, socket.SOCK_STREAM, fileno=accepted.detach())
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while session.need != CLOSE:
                self._step(sock, session)
                if self._stopping:
                    session.drain()
        except OSError:  # reset or disconnected: no answer can reach the client
            pass
        finally:
            if session.unfinished:
                reset(sock)
            session.close()
            sock.close()
            del self._clients[self._gevent.getcurrent()]

    def _step(self, sock: Any, session: Session) -> None:
        need = session.need
        sock.settimeout(max(0.001, min(session.deadline - time.monotonic(), 3600.0)))
        try:
            if need == READ:
                data = sock.recv(RECEIVE)
                session.receive(data, time.monotonic())
            elif need == WRITE:
                count = sock.send(session.output)
                session.sent(count, time.monotonic())
            elif need == WAIT:
                self._gevent.sleep(session.pause)
                session.resume(time.monotonic())
            elif need == SENDFILE:
                self._send_file(sock, session)
            elif need == SHUTDOWN:
                sock.shutdown(socket.SHUT_WR)
                session.shut(time.monotonic())
        except BlockingIOError:  # sendfile: let other greenlets run, then continue
            self._gevent.sleep(0)
        except TimeoutError:
            session.expire(time.monotonic())

    def _send_file(self, sock: Any, session: Session) -> None:
        """Send a piece by sendfile; gevent has no sendfile, so wait until it would not block."""
        file = session.file
        assert file is not None
        self._gevent.socket.wait_write(sock.fileno(), timeout=10.0, timeout_exc=TimeoutError())
        count = min(file.length, _PIECE)
        count = os.sendfile(sock.fileno(), file.descriptor, file.offset, count)
        session.sent(count, time.monotonic())

    def stop(self) -> None:
        """Take no more connections, let running requests finish (GRACE), then return."""
        self._waker.wake()

    def close(self) -> None:
        """Close everything."""
        self._listener.close()
        self._waker.close()
