"""One serving process: accepts, routes, logs, and follows the master's orders.

All processes share the listeners and wait on them with EPOLLEXCLUSIVE, so a connection normally
wakes one process instead of all (epoll_ctl(2)). The master sends a new configuration and its
listeners over a socket. The process swaps configurations between two events and closes no client
connection; the old upstreams finish their running requests (a retired pool).

At EMFILE, or at the client limit, a level-triggered listener would wake the process again and
again. The process then closes idle clients; if there are none, it stops watching the listeners
until the next sweep.
"""

import errno
import os
import resource
import select
import signal
import socket
import traceback
from contextlib import suppress
from types import FrameType
from typing import Final

from chainlab.transport.logfile import LogError
from chainlab.wire.http1 import RequestHead
from gateway.client import Client, ClientOwner
from gateway.config import Config
from gateway.exchange import ProxyExchange
from gateway.failure import Kind
from gateway.logs import open_logs
from gateway.loop import Loop, settle
from gateway.orders import OrderError, receive_order, send_report
from gateway.params import Peer, RequestPlan
from gateway.pool import Pool
from gateway.routing import Generation
from gateway.scoreboard import Scoreboard
from gateway.services import Services
from gateway.upstream_connection import UpstreamConnection

_ACCEPTS: Final = 16  # connections accepted per wake-up; the rest are left to other processes
_QUIET: Final = 10.0  # minimum seconds between two warnings about too many clients
_RESERVE: Final = 64  # descriptors reserved for files, logs and extra upstream connections
_LAST_LINES: Final = 1.0  # seconds that readers of the logs have at the end
_PEERS: Final = 4096  # maximum cached Peer objects
_EXCLUSIVE: Final = select.EPOLLIN | select.EPOLLEXCLUSIVE
_SIGNALS: Final = (signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1)


class Door:
    """A listener in the loop."""

    __slots__ = ("_process", "sock")

    def __init__(self, process: "Process", sock: socket.socket) -> None:
        self._process = process
        self.sock = sock

    def on_event(self, _mask: int) -> None:
        """Accept a batch of pending connections."""
        self._process.accept(self.sock, _ACCEPTS)


class Process(ClientOwner):
    """A child of the master; `run` returns when the process should exit."""

    def __init__(
        self,
        config: Config,
        generation: int,
        processes: int,
        listeners: list[socket.socket],
        control: socket.socket,
        scoreboard: Scoreboard,
        row: int,
    ) -> None:
        self.loop = Loop(self._on_bug, sweep=_sweep_interval(config))
        self.services = Services(config, self.loop)
        self._clients: set[Client] = set()
        self._peers: dict[tuple[str, str, int], Peer] = {}
        self._retired: list[Pool] = []
        self._doors = [Door(self, listener) for listener in listeners]
        self._accepting = False
        self._complained_at = -_QUIET
        self._control = control
        self._scoreboard = scoreboard
        self._row = row
        self._leave_by = 0.0
        self._wakes, self._waker = socket.socketpair()
        self._signalled: list[int] = []
        self.current = self._generation(config, generation, processes)
        self._most_clients = most_clients(config)

    def _generation(self, config: Config, number: int, processes: int) -> Generation:
        return Generation(self.services, config, number, processes, self.answer_status)

    # Life

    def run(self) -> None:
        """Serve until told to stop."""
        self._install_signals()
        self._control.setblocking(False)
        self.loop.register(self._control, select.EPOLLIN, self._on_control)
        self._sweep_again()
        send_report(self._control, self.current.number)
        settle()
        self.loop.run()
        self.services.access_log.close(_LAST_LINES)
        self._scoreboard.write(self._row, 0, 0)

    def _install_signals(self) -> None:
        """Install handlers that only record the signal; the wake-up descriptor wakes the loop."""
        self._wakes.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        # A terminal sends these two to the whole process group; only the master acts on them.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self.loop.register(self._wakes, select.EPOLLIN, self._on_wake)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signalled.append(number)

    def _on_wake(self, _mask: int) -> None:
        self._wakes.recv(4096)
        while self._signalled:
            number = self._signalled.pop(0)
            if number == signal.SIGTERM:
                self.loop.stop()
            elif number == signal.SIGQUIT:
                self.leave()
            else:
                self._reopen_logs()

    def _reopen_logs(self) -> None:
        try:
            self.services.access_log.reopen()
            self.services.error_log.reopen()
        except LogError as error:
            self.services.error_log.error(str(error))

    def leave(self) -> None:
        """Finish running requests, then stop (SIGQUIT)."""
        if self.services.leaving:
            return
        for door in self._doors:
            self.accept(door.sock, limit=4096)  # the kernel has already completed these handshakes
        self.services.leaving = True
        self._pause_accepting()
        self._leave_by = self.loop.now + self.current.config.timeouts.grace
        for client in list(self._clients):
            client.leave()
        self._sweep()

    def _sweep_again(self) -> None:
        """Sweep now and then every interval, whatever happens in a sweep."""
        self.loop.later(_sweep_interval(self.current.config), self._sweep_again)
        self._sweep()

    def _sweep(self) -> None:
        """Do the periodic work: accept again, move the queues, write the logs, report."""
        if not self._accepting and not self.services.leaving:
            self._resume_accepting()
        for pool in (*self.current.pools.values(), *self._retired):
            pool.sweep()
        self._retired = [pool for pool in self._retired if pool.busy]
        self.services.access_log.flush_when_due()
        self._write_row()
        if self.services.leaving and (not self._clients or self.loop.now >= self._leave_by):
            if self._clients:
                left = len(self._clients)
                self.services.error_log.warn(f"{left} clients cut off after the grace time")
            self.loop.stop()

    def _write_row(self) -> None:
        active = sum(client.exchange is not None for client in self._clients)
        self._scoreboard.write(
            self._row,
            os.getpid(),
            self.current.number,
            active,
            len(self._clients),
            self.services.requests,
            len(self._retired) + self.services.leaving,
        )

    # The master

    def _on_control(self, _mask: int) -> None:
        try:
            order = receive_order(self._control)
        except BlockingIOError:
            return
        except EOFError:  # the master is gone
            self.loop.unregister(self._control)
            self.leave()
            return
        except OrderError as error:
            send_report(self._control, error.generation, str(error))
            return
        try:
            self._take(order.config, order.generation, order.processes, order.listeners)
        except Exception as error:  # noqa: BLE001 - the master decides what to do about it
            for listener in order.listeners:
                listener.close()
            send_report(self._control, order.generation, str(error) or repr(error))
        else:
            send_report(self._control, order.generation)

    def _take(
        self, config: Config, generation: int, processes: int, listeners: list[socket.socket]
    ) -> None:
        """Replace the current configuration."""
        fresh = self._generation(config, generation, processes)
        if config.log != self.current.config.log:
            access, error = open_logs(config.log, self.loop)
            self.services.access_log.close()
            self.services.error_log.close()
            self.services.access_log, self.services.error_log = access, error
        old, self.current = self.current, fresh
        self.services.apply(config)
        self.loop.sweep_every(_sweep_interval(config))
        self._most_clients = most_clients(config)
        for pool in old.pools.values():
            pool.retire()
            self._retired.append(pool)
        self._pause_accepting()
        for door in self._doors:
            door.sock.close()
        self._doors = [Door(self, listener) for listener in listeners]
        self._sweep()

    # Clients

    def _resume_accepting(self) -> None:
        self._accepting = True
        for door in self._doors:
            self.loop.register(door.sock, _EXCLUSIVE, door.on_event)

    def _pause_accepting(self) -> None:
        # Unregister, because EPOLL_CTL_MOD fails for an EPOLLEXCLUSIVE descriptor (epoll_ctl(2)).
        self._accepting = False
        for door in self._doors:
            self.loop.unregister(door.sock)

    def accept(self, listener: socket.socket, limit: int) -> None:
        """Accept up to `limit` connections from `listener`."""
        for _ in range(limit):
            if len(self._clients) >= self._most_clients and not self._make_room():
                self._pause(f"the limit of {len(self._clients)} clients is reached")
                return
            try:
                sock, name = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._make_room()
                    self._pause(error.strerror)
                    return
                continue  # the client disconnected before accept (ECONNABORTED)
            self._welcome(sock, name)

    def _welcome(self, sock: socket.socket, name: object) -> None:
        sock.setblocking(False)
        remote, port, local, local_port = "unix:", 0, "localhost", 80
        if isinstance(name, tuple):
            remote, port = name[:2]
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                local, local_port = sock.getsockname()[:2]
        key = (remote, local, local_port)
        peer = self._peers.get(key)
        if peer is None:
            if len(self._peers) >= _PEERS:
                self._peers.clear()
            peer = self._peers[key] = Peer(*key)
        self._clients.add(Client(self.services, self, sock, peer, port))

    def _make_room(self) -> bool:
        """Close up to 32 idle clients, longest idle first; return False if there are none."""
        idle = sorted((c for c in self._clients if c.kept), key=lambda client: client.deadline)
        for client in idle[:32]:
            client.close()
        return bool(idle)

    def _pause(self, why: str | None) -> None:
        if self.loop.now - self._complained_at >= _QUIET:
            self._complained_at = self.loop.now
            self.services.error_log.warn(f"pausing accept for a moment: {why}")
        self._pause_accepting()

    def on_client_closed(self, client: Client) -> None:
        """Forget a closed client; stop if it was the last one during shutdown."""
        self._clients.discard(client)
        if self.services.leaving and not self._clients:
            self.loop.stop()

    # Requests

    def begin(self, client: Client, head: RequestHead) -> None:
        """Hand a request to its handler."""
        self.services.requests += 1
        if self.services.leaving:
            client.http.keep_alive = False
        plan: RequestPlan | None = head.derived
        if plan is None or plan.peer is not client.peer or plan.generation != self.current.number:
            head.derived = plan = self.current.plan(head, client.peer)
        client.timeouts = plan.timeouts
        plan.begin(client, head, plan)

    def answer_status(self, client: Client, head: RequestHead, _plan: RequestPlan) -> None:
        """Answer with the scoreboard."""
        self._write_row()
        kind = (b"Content-Type", b"application/json")
        client.answer(200, self._scoreboard.as_json(), head, kind, (b"Cache-Control", b"no-store"))

    # Bugs

    def _on_bug(self, owner: object) -> None:
        """Log an unexpected exception and end only the connection it happened on."""
        for line in traceback.format_exc().splitlines():
            self.services.error_log.error(f"bug: {line}")
        if isinstance(owner, Client):
            owner.give_up()
        elif isinstance(owner, UpstreamConnection):
            owner.fail(500, "internal error in the gateway, see above", Kind.OTHER)
        elif isinstance(owner, ProxyExchange):
            owner.client.give_up()


def most_clients(config: Config) -> int:
    """Return the maximum clients per process, from the configuration and the descriptor limit."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    upstream = sum(u.connections * len(u.addresses) for u in config.upstreams.values())
    allowed = max(descriptors - _RESERVE - min(upstream, descriptors // 2), 1)
    return min(config.connections or allowed, allowed)


def _sweep_interval(config: Config) -> float:
    """Return the seconds between two sweeps: a fraction of the shortest timeout."""
    timeouts = config.timeouts
    return min(1.0, timeouts.connect, timeouts.read, timeouts.send, timeouts.header) / 4
