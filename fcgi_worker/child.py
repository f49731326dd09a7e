"""A child: waits for any idle connection and serves one request at a time, blocking.

A child sleeps in epoll_wait on the epoll instance shared by all children and asks for one event: a
second event would wait for this busy child while others idle. A request on a kept connection costs
epoll_wait, read, write and epoll_ctl.

    listener readable   accept one connection, rearm the listener, try to read
    idle connection     take it, read
    stop descriptor     exit

An incomplete request does not block the child: its connection waits in `_partial` with a timeout,
and meanwhile the child polls it along with the shared epoll.
"""

import importlib
import logging
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

from chainlab.wire.fastcgi import (
    MAX_CONNS,
    MAX_REQS,
    MPXS_CONNS,
    NEED_DATA,
    ProtocolError,
    Request,
    ServerConnection,
)
from fcgi_worker.idle_connections import READY, Borrower, IdleConnections, encode_message
from fcgi_worker.peer import PeerGone, linger, write_all
from fcgi_worker.settings import Settings
from fcgi_worker.timing import AccessLog, choose_exchange

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import WSGIApplication

log = logging.getLogger("fcgi_worker")

EXIT_NO_APPLICATION: Final = 4
"""Exit code of a child that could not import its application, as in gunicorn."""

_TICK: Final = 1.0  # seconds until an idle child notices a signal or its master's death
_FIRST_READ: Final = 16384  # bytes; most requests fit


class ApplicationError(Exception):
    """The application cannot be loaded; the message says why."""


def load_application(name: str) -> "WSGIApplication":
    """Import `module:callable` (dots allowed on both sides), the current folder first."""
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise ApplicationError(
            f"{name!r} is not module:callable, for example myproject.wsgi:application"
        )
    folder = str(Path.cwd())
    if sys.path[:1] != [folder]:  # before site-packages, so that the project wins
        sys.path.insert(0, folder)
    found: object = importlib.import_module(module_name)
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise ApplicationError(f"module {module_name} has no {path!r}") from None
    if not callable(found):
        raise ApplicationError(f"{name} is not callable: its type is {type(found).__name__}")
    return found


class Child:
    """One worker process, from its boot to its end."""

    def __init__(
        self,
        settings: Settings,
        idle: IdleConnections,
        borrower: Borrower,
        control: socket.socket,
        access_log: AccessLog,
    ) -> None:
        self._settings = settings
        self._access_log = access_log
        self._exchange = choose_exchange(settings, access_log)
        self._idle = idle
        self._borrower = borrower
        self._control = control
        self._values = {
            MAX_CONNS: str(idle.slots),
            MAX_REQS: str(idle.slots),  # requests beyond the number of children wait in order
            MPXS_CONNS: "0",
        }
        self._spare = ServerConnection(self._values)  # an idle connection has no protocol state
        # Descriptor -> (protocol state, deadline for the rest of the request).
        self._partial: dict[int, tuple[ServerConnection, float]] = {}
        self._listener_paused = False
        self._stopping = False
        self._master = os.getppid()

    def run(self) -> NoReturn:
        """Import the application, serve until told to stop, exit."""
        for number in (signal.SIGINT, signal.SIGHUP):
            # A terminal sends these to the whole group; the master handles them.
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGQUIT, self._on_quit)
        signal.signal(signal.SIGUSR1, self._on_usr1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the master blocked them before the fork
        try:
            self._application = load_application(self._settings.application)
        except (Exception, SystemExit) as error:
            trace = not isinstance(error, ApplicationError)
            log.critical("cannot load %s: %s", self._settings.application, error, exc_info=trace)
            self._exit(EXIT_NO_APPLICATION)
        self._control.send(encode_message(READY))
        self._serve()
        self._exit(0)

    def _on_quit(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _on_term(self, _signal: int, _frame: FrameType | None) -> None:
        """Exit now, even in mid-request; first write the log lines, this request's too."""
        if not self._access_log.terminate():
            return  # a line is being added; `terminate` repeats the signal afterwards
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    def _on_usr1(self, _signal: int, _frame: FrameType | None) -> None:
        self._access_log.reopen_soon()

    def _exit(self, code: int) -> NoReturn:
        self._access_log.flush()
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)  # skip exit handlers: they belong to the master

    # The loop

    def _serve(self) -> None:
        listener, stop = self._idle.listener.fileno(), self._idle.stop_descriptor
        epoll = self._idle.epoll
        while not self._stopping:
            if self._partial:
                self._give_up_partial()
            events = epoll.poll(_TICK, 1) if not self._partial else self._poll_partial()
            if not events:
                self._on_tick()
                continue
            descriptor = events[0][0]
            if descriptor == listener:
                self._accept()
            elif descriptor == stop:
                return
            elif self._borrower.take(descriptor):
                self._read(descriptor, self._spare)

    def _poll_partial(self) -> list[tuple[int, int]]:
        """Wait for the shared epoll and the half-received requests; serve the latter."""
        poll = select.poll()
        poll.register(self._idle.epoll, select.POLLIN)
        for descriptor in self._partial:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(_TICK * 1000):
            if descriptor in self._partial:
                connection, deadline = self._partial.pop(descriptor)
                self._read(descriptor, connection, deadline)
        return self._idle.epoll.poll(0, 1)

    def _on_tick(self) -> None:
        if os.getppid() != self._master:
            log.critical("the master is gone: exiting")
            self._stopping = True
        if self._listener_paused:
            self._listener_paused = False
            self._idle.arm(self._idle.listener.fileno())
        self._borrower.sweep()
        self._access_log.flush()

    def _give_up_partial(self) -> None:
        """Close connections whose request did not arrive in time."""
        now = time.monotonic()
        for descriptor in [d for d, (_, deadline) in self._partial.items() if deadline <= now]:
            log.warning("connection closed: the request's parameters did not arrive in time")
            del self._partial[descriptor]
            self._close(descriptor)

    def _accept(self) -> None:
        listener = self._idle.listener
        try:
            accepted, _ = listener.accept()
        except BlockingIOError:
            self._idle.arm(listener.fileno())
            return
        except OSError as error:  # out of descriptors or memory: pause for a tick
            log.error("accept: %s", error.strerror)
            self._listener_paused = True
            self._borrower.sweep()
            return
        self._idle.arm(listener.fileno())
        accepted.setblocking(False)
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._read(accepted.detach(), self._spare)

    # One connection

    def _read(self, descriptor: int, connection: ServerConnection, deadline: float = 0.0) -> None:
        """Read once and serve complete requests; then make the connection idle, wait, or close."""
        try:
            data = os.read(descriptor, _FIRST_READ)
        except BlockingIOError:
            data = None
        except OSError:  # reset: treat as closed
            data = b""
        if data == b"":
            self._close(descriptor)
            return
        try:
            if data is not None:
                connection.receive_data(data)
            keep = self._serve_requests(descriptor, connection)
        except PeerGone as error:
            log.info("connection closed: %s", error)
            keep = False
        except ProtocolError as error:
            log.error("FastCGI protocol error, connection closed: %s", error)
            keep = False
        if keep and not connection.idle:
            self._wait_for_rest(descriptor, connection, deadline)
            return
        if connection is self._spare and not connection.idle:
            self._spare = ServerConnection(self._values)
        if keep:
            self._give_back(descriptor, served=data is not None)
        else:
            self._close(descriptor)

    def _serve_requests(self, descriptor: int, connection: ServerConnection) -> bool:
        """Run every received request; return False if the connection must close."""
        while (event := connection.next_event()) is not NEED_DATA:
            if isinstance(event, Request):
                exchange = self._exchange(descriptor, connection, event, self._settings)
                exchange.run(self._application)
                if not event.keep_conn:
                    if not exchange.body_ended:
                        linger(descriptor)
                    return False
        if answers := connection.bytes_to_send():
            write_all(descriptor, answers, self._settings)
        return True

    def _wait_for_rest(
        self, descriptor: int, connection: ServerConnection, deadline: float
    ) -> None:
        if connection is self._spare:
            self._spare = ServerConnection(self._values)
        deadline = deadline or time.monotonic() + self._settings.read_timeout
        self._partial[descriptor] = connection, deadline

    def _give_back(self, descriptor: int, *, served: bool) -> None:
        """Make a connection idle; if there is no room, close it after its first request."""
        if descriptor >= self._idle.base:
            self._borrower.give_back(descriptor)
        elif self._borrower.add(descriptor):
            pass
        elif served:
            log.warning("connection closed: no room for another idle one; raise --connections")
            os.close(descriptor)
        else:
            self._wait_for_rest(descriptor, self._spare, 0.0)

    def _close(self, descriptor: int) -> None:
        if descriptor >= self._idle.base:
            self._borrower.close(descriptor)
        else:
            os.close(descriptor)
