"""A child: waits for any idle connection and serves one request at a time, blocking.

A child sleeps in epoll_wait on the epoll instance shared by all children and asks for one event: a
second event would wait for this busy child while others idle. A request on a kept connection costs
epoll_wait, read, write and epoll_ctl.

    listener readable   accept one connection, rearm the listener, try to read
    idle connection     take it, read
    nudge               another child is about to leave, see `interrupts`: nothing to do

An incomplete request does not block the child: its connection waits in `_partial` with a timeout,
and meanwhile the child polls it along with the shared epoll.
"""

import errno
import os
import random
import select
import signal
import socket
import time
from typing import Final

from chainlab.wire.fastcgi import (
    MAX_CONNS,
    MAX_REQS,
    MPXS_CONNS,
    NEED_DATA,
    ProtocolError,
    Request,
    ServerConnection,
)
from fcgi_worker import forks
from fcgi_worker.application import ApplicationError, load_application
from fcgi_worker.idle_connections import (
    DUE,
    PAUSE,
    READY,
    Borrower,
    Connection,
    IdleConnections,
    encode_message,
)
from fcgi_worker.interrupts import STACK_SIGNAL, Interrupts, Stopped
from fcgi_worker.log import log
from fcgi_worker.peer import PeerGone, accept, linger, write_all
from fcgi_worker.scoreboard import Mark
from fcgi_worker.settings import Settings
from fcgi_worker.timing import AccessLog, choose_exchange
from fcgi_worker.wsgi import Exchange

EXIT_NO_APPLICATION: Final = 4
"""Exit code of a child that could not import its application."""

_TICK: Final = 1.0  # seconds between two looks at what else is due
_LAST_LINES: Final = 1.0  # seconds that the reader of a log has at the end
_FIRST_READ: Final = 16384  # bytes; most requests fit
_NO_RESOURCES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Child:
    """One worker process, from its boot to its end. `stack_file` is -1 if there is none."""

    def __init__(
        self,
        settings: Settings,
        idle: IdleConnections,
        borrower: Borrower,
        control: socket.socket,
        mark: Mark,
        access_log: AccessLog,
        stack_file: int,
    ) -> None:
        self._settings = settings
        self._access_log = access_log
        self._exchange = choose_exchange(settings, access_log)
        self._idle = idle
        self._listener = idle.listener.fileno()
        self._borrower = borrower
        self._control = control
        self._mark = mark
        self._stack_file = stack_file
        jitter = random.randint(0, settings.max_requests_jitter)
        self._due_at = settings.max_requests + jitter if settings.max_requests else 0
        self._values = {
            MAX_CONNS: str(idle.slots),
            MAX_REQS: str(idle.slots),  # requests beyond the number of children wait in order
            MPXS_CONNS: "0",
        }
        self._spare = ServerConnection(self._values)  # an idle connection has no protocol state
        self._partial: dict[int, Connection] = {}  # by descriptor: an incomplete request
        self._serving: Connection | None = None
        self._now = time.monotonic()
        self._next_tick = 0.0
        self._interrupts = Interrupts(idle.nudges)

    def run(self) -> int:
        """Import the application and serve until told to stop; return the exit code.

        The caller then ends the interpreter in the usual way, with exit handlers and threads.
        """
        log.abandon()
        log.open()
        self._access_log.renew()
        self._mark.starting(self._now)
        self._install_signals()
        try:
            if not self._load():
                return EXIT_NO_APPLICATION
            self._mark.idle()
            self._control.send(encode_message(READY))
            self._serve()
            self._finish()
        except Stopped:
            pass
        except ConnectionError:  # from the control socket
            log.critical("the master is gone: exiting")
        finally:
            self._access_log.drain(_LAST_LINES)
            log.drain(_LAST_LINES)
            self._idle.close()
            self._control.close()  # tells the master that only the interpreter's end is left
        return 0

    def _load(self) -> bool:
        name = self._settings.application
        try:
            self._interrupts.exposed = True
            self._application = load_application(name)
        except Stopped:
            raise
        except ApplicationError as error:
            log.critical("cannot load %s: %s", name, error)
            return False
        except BaseException as error:  # noqa: BLE001 - an application may raise anything
            log.exception("cannot load %s: %s", name, error)
            return False
        finally:
            self._interrupts.exposed = False
            if forks.forked:
                forks.leave()
        return True

    def _install_signals(self) -> None:
        handlers = self._interrupts.install(self._access_log.reopen_soon, self._stack_file)
        forks.disown(handlers, self._descriptors, STACK_SIGNAL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the master blocked them before the fork

    def _descriptors(self) -> tuple[list[int], list[int]]:
        """Return what a process that the application forks must not hold; see `forks`."""
        idle, serving = self._idle, self._serving
        objects = [idle.listener.fileno(), self._control.fileno()]  # -1 if closed
        objects += [] if idle.epoll.closed else [idle.epoll.fileno()]
        objects += [] if serving is None else [serving.descriptor]
        kept = {*self._borrower.descriptors, *self._partial, idle.nudges}
        return [number for number in objects if number >= 0], list(kept.difference(objects))

    # The loop

    def _serve(self) -> None:
        epoll, interrupts = self._idle.epoll, self._interrupts
        while True:
            if self._now >= self._next_tick:
                self._on_tick()
            interrupts.waiting = True
            if interrupts.leaving:
                break
            events = epoll.poll(_TICK, 1) if not self._partial else self._poll_partial()
            interrupts.waiting = False
            if interrupts.leaving:
                interrupts.take_nudge()
            self._now = time.monotonic()
            if events:
                self._on_event(events[0][0])
        interrupts.waiting = False
        interrupts.take_nudge()

    def _on_event(self, descriptor: int) -> None:
        idle = self._idle
        if descriptor == self._listener:
            self._accept()
        elif descriptor != idle.nudges:
            connection = self._borrower.take(descriptor - idle.base)
            if connection is not None:
                self._read(connection)

    def _poll_partial(self) -> list[tuple[int, int]]:
        """Wait for the shared epoll and the half-received requests; serve the latter."""
        self._read_partial(_TICK, self._idle.epoll)
        return self._idle.epoll.poll(0, 1)

    def _read_partial(self, seconds: float, *others: select.epoll) -> None:
        """Wait for half-received requests, or for `others`; read and serve the former."""
        poll = select.poll()
        for other in others:
            poll.register(other, select.POLLIN)
        for descriptor in self._partial:
            poll.register(descriptor, select.POLLIN)
        ready = poll.poll(seconds * 1000)
        self._interrupts.waiting = False
        if self._interrupts.leaving:
            self._interrupts.take_nudge()
        self._now = time.monotonic()
        for descriptor, _ in ready:
            if (connection := self._partial.pop(descriptor, None)) is not None:
                self._read(connection)
        self._give_up_partial()

    def _on_tick(self) -> None:
        """Do what is due from time to time, whatever the load."""
        self._next_tick = self._now + _TICK
        self._borrower.sweep()
        self._access_log.flush()
        log.flush()

    def _give_up_partial(self) -> None:
        """Close connections whose request did not arrive in time."""
        late = [held for held in self._partial.values() if held.deadline <= self._now]
        for connection in late:
            log.warning("connection closed: the request's parameters did not arrive in time")
            del self._partial[connection.descriptor]
            self._close(connection)

    def _finish(self) -> None:
        """On the way out, serve the requests that have arrived, whole or in part.

        When the whole pool stops, that includes those that wait on idle connections; they find no
        other child. Each connection closes after its request, so this comes to an end.
        """
        while self._idle.stopping and not self._interrupts.at_once:
            events = self._idle.epoll.poll(0, 1)
            if not events:
                break
            self._now = time.monotonic()
            self._on_event(events[0][0])
        while self._partial and not self._interrupts.at_once:
            self._read_partial(_TICK)

    # One connection

    def _accept(self) -> None:
        try:
            descriptor = accept(self._idle.listener, self._settings)
        except OSError as error:
            log.error("accept: %s", error.strerror)
            if error.errno in _NO_RESOURCES:  # a pause: kept connections go on meanwhile
                self._borrower.sweep()
                self._control.send(encode_message(PAUSE))
                return
            descriptor = -1
        self._idle.arm_listener()
        if descriptor >= 0:
            self._read(Connection(descriptor))

    def _read(self, connection: Connection) -> None:
        """Read once and serve complete requests; then make the connection idle, wait, or close."""
        try:
            data = os.read(connection.descriptor, _FIRST_READ)
        except BlockingIOError:
            data = None
        except OSError:  # reset: treat as closed
            data = b""
        if data == b"":
            self._close(connection)
            return
        protocol = connection.protocol or self._spare
        keep = False
        try:
            if data is not None:
                protocol.receive_data(data)
            keep = self._serve_requests(connection, protocol)
        except PeerGone as error:
            log.info("connection closed: %s", error)
        except ProtocolError as error:
            log.error("FastCGI protocol error, connection closed: %s", error)
        except Exception:  # noqa: BLE001 - no error ends the child
            log.exception("an error in the worker, connection closed")
        if protocol is self._spare and not (keep and protocol.idle):
            self._spare = ServerConnection(self._values)  # that one is in use, or has failed
        if not keep:
            self._close(connection)
        elif not protocol.idle:
            self._wait_for_rest(connection, protocol)
        else:
            self._give_back(connection, served=data is not None)

    def _serve_requests(self, connection: Connection, protocol: ServerConnection) -> bool:
        """Run every received request; return False if the connection must close."""
        while (event := protocol.next_event()) is not NEED_DATA:
            if isinstance(event, Request):
                exchange = self._run(connection, protocol, event)
                if not event.keep_conn:
                    if not exchange.body_ended:
                        linger(connection.descriptor)
                    return False
        if answers := protocol.bytes_to_send():
            write_all(connection.descriptor, answers, self._settings)
        return True

    def _run(
        self, connection: Connection, protocol: ServerConnection, request: Request
    ) -> Exchange:
        """Serve one request: the only place that runs the application."""
        params, interrupts = request.params, self._interrupts
        line = f"{params.get('REQUEST_METHOD')} {params.get('REQUEST_URI')}".encode("latin-1")
        number = self._mark.begin(line, self._now)
        exchange = self._exchange(connection.descriptor, protocol, request, self._settings)
        connection.protocol = None  # the next request has time of its own
        self._serving = connection
        try:
            interrupts.exposed = True
            exchange.run(self._application)
        finally:
            interrupts.exposed = False
            if forks.forked:
                forks.leave()
            self._serving = None
            exchange.end()
            self._mark.idle()
            if number == self._due_at:
                self._control.send(encode_message(DUE))
        return exchange

    def _wait_for_rest(self, connection: Connection, protocol: ServerConnection) -> None:
        if connection.protocol is None:
            connection.deadline = self._now + self._settings.read_timeout
        connection.protocol = protocol
        self._partial[connection.descriptor] = connection

    def _give_back(self, connection: Connection, *, served: bool) -> None:
        """Make a connection idle; if there is no room, close it after its first request."""
        connection.protocol = None
        if self._interrupts.leaving and self._idle.stopping:
            self._close(connection)
        elif connection.slot >= 0:
            self._borrower.give_back(connection)
        elif self._borrower.add(connection):
            pass
        elif served:
            log.warning("connection closed: no room for another idle one; raise --connections")
            os.close(connection.descriptor)
        else:
            self._wait_for_rest(connection, ServerConnection(self._values))

    def _close(self, connection: Connection) -> None:
        if connection.slot >= 0:
            self._borrower.close(connection)
        else:
            os.close(connection.descriptor)
