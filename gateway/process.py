"""One process of the gateway: accepts, routes, logs, and does what the master tells it.

Several processes share the listeners. Each waits on them with EPOLLEXCLUSIVE, so a connection
wakes one of them, not all (man epoll_ctl(2)). A new configuration comes from the master over a
socket, with its listeners, and takes the place of the old one between two events: no connection
is closed for it. What the old configuration's upstreams still run is finished (a retired pool).

At EMFILE, or with as many clients as allowed, a level-triggered listener would be reported again
and again: idle clients make room, and if there are none the listeners are left alone until the
next sweep.
"""

import errno
import json
import os
import resource
import select
import signal
import socket
import traceback
from contextlib import suppress
from itertools import count
from types import FrameType
from typing import Final

from chainlab.transport.logfile import LogError
from chainlab.wire.http1 import RequestHead
from gateway.client import Client
from gateway.config import Config, ConfigError, parse_config
from gateway.logs import AccessLog, ErrorLog, LogHead
from gateway.loop import Loop, settle
from gateway.params import Peer, RequestPlan
from gateway.pool import Pool
from gateway.routing import Generation
from gateway.scoreboard import Scoreboard
from gateway.upstream_connection import UpstreamConnection

_ACCEPTS: Final = 16  # connections taken per wake-up: the rest may be another process's
_QUIET: Final = 10.0  # seconds between two complaints about too many clients
_RESERVE: Final = 64  # descriptors for files, upstream connections beyond their share, logs
_PEERS: Final = 4096  # remembered ends of connections
_EXCLUSIVE: Final = select.EPOLLIN | select.EPOLLEXCLUSIVE
_SIGNALS: Final = (signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1)

CONTROL_LIMIT: Final = 65536  # bytes of a message from the master, descriptors apart
CONTROL_DESCRIPTORS: Final = 128
READY: Final = b"ready"  # what a process tells the master


class Door:
    """A listener in the loop."""

    __slots__ = ("_process", "sock")

    def __init__(self, process: "Process", sock: socket.socket) -> None:
        self._process = process
        self.sock = sock

    def on_event(self, _mask: int) -> None:
        """Take some of the connections that wait."""
        self._process.accept(self.sock, _ACCEPTS)


class Process:
    """A child of the master; `run` returns when it is to exit."""

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
        timeouts = config.timeouts
        shortest = min(timeouts.connect, timeouts.read, timeouts.send, timeouts.header)
        self.loop = Loop(self._on_bug, sweep=shortest / 4)
        self.leaving = False
        self.error_log = ErrorLog(config.log.error)
        self.access_log = AccessLog(config.log, self.loop)
        self.requests = 0
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
        self._id_prefix = os.urandom(8).hex().encode()
        self._ids = count(1)
        self.site = Generation(self, config, generation, processes)
        self._most_clients = most_clients(config)

    # Life

    def run(self) -> None:
        """Serve until told to stop."""
        self._install_signals()
        self._control.setblocking(False)
        self.loop.register(self._control, select.EPOLLIN, self._on_control)
        self.loop.every_sweep(self._sweep)
        self._write_row()
        self._resume_accepting()
        with suppress(OSError):
            self._control.send(READY)
        settle()
        self.loop.run()
        self.access_log.close()
        self._scoreboard.write(self._row, 0, 0)

    def _install_signals(self) -> None:
        """A handler only records; the descriptor that it makes readable wakes the loop."""
        self._wakes.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the master's to act upon
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
            self.access_log.reopen()
            self.error_log.reopen()
        except LogError as error:
            self.error_log.error(str(error))

    def leave(self) -> None:
        """Finish what runs, then stop: what SIGQUIT asks for."""
        if self.leaving:
            return
        for door in self._doors:
            self.accept(door.sock, limit=4096)  # whoever is in the backlog has been promised
        self.leaving = True
        self._pause_accepting()
        self._leave_by = self.loop.now + self.site.config.timeouts.grace
        for client in list(self._clients):
            client.leave()
        self._sweep()

    def _sweep(self) -> None:
        """What is looked at four times per second."""
        if not self._accepting and not self.leaving:
            self._resume_accepting()
        for pool in (*self.site.pools.values(), *self._retired):
            pool.sweep()
        self._retired = [pool for pool in self._retired if pool.busy]
        self.access_log.flush_when_due()
        self._write_row()
        if self.leaving and (not self._clients or self.loop.now >= self._leave_by):
            if self._clients:
                self.error_log.warn(f"{len(self._clients)} clients cut off after the grace time")
            self.loop.stop()

    def _write_row(self) -> None:
        active = sum(client.exchange is not None for client in self._clients)
        self._scoreboard.write(
            self._row,
            os.getpid(),
            self.site.generation,
            active,
            len(self._clients),
            self.requests,
            len(self._retired) + self.leaving,
        )

    # The master

    def _on_control(self, _mask: int) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(
                self._control, CONTROL_LIMIT, CONTROL_DESCRIPTORS
            )
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:  # the master is gone
            self.loop.unregister(self._control)
            self.leave()
            return
        order = json.loads(message)
        with os.fdopen(descriptors[0], encoding="utf-8") as text:
            source = text.read()
        listeners = [socket.socket(fileno=fd) for fd in descriptors[1:]]
        try:
            config = parse_config(source, order["name"])
            self._take(config, order["generation"], order["processes"], listeners)
        except (ConfigError, LogError, OSError) as error:
            # The master has read it: a folder has just gone.
            self.error_log.error(f"new configuration refused: {error}")
            for listener in listeners:
                listener.close()

    def _take(
        self, config: Config, generation: int, processes: int, listeners: list[socket.socket]
    ) -> None:
        """Put a new configuration in the place of the old one."""
        site = Generation(self, config, generation, processes)
        if config.log != self.site.config.log:
            access, error = AccessLog(config.log, self.loop), ErrorLog(config.log.error)
            self.access_log.close()
            self.error_log.close()
            self.access_log, self.error_log = access, error
        old, self.site = self.site, site
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
        self._accepting = False
        for door in self._doors:
            self.loop.unregister(door.sock)

    def accept(self, listener: socket.socket, limit: int) -> None:
        """Take up to `limit` connections from `listener`."""
        for _ in range(limit):
            if len(self._clients) >= self._most_clients and not self._make_room():
                self._pause(f"{len(self._clients)} are here, as many as allowed")
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
                continue  # this one has gone already (ECONNABORTED)
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
        self._clients.add(Client(self, sock, peer, port))

    def _make_room(self) -> bool:
        """Close some idle clients, the longest idle first; return whether there were any."""
        idle = sorted((c for c in self._clients if c.kept), key=lambda client: client.deadline)
        for client in idle[:32]:
            client.close()
        return bool(idle)

    def _pause(self, why: str | None) -> None:
        if self.loop.now - self._complained_at >= _QUIET:
            self._complained_at = self.loop.now
            self.error_log.warn(f"no new clients for a moment: {why}")
        self._pause_accepting()

    def on_client_closed(self, client: Client) -> None:
        """Count a client out."""
        self._clients.discard(client)
        if self.leaving and not self._clients:
            self.loop.stop()

    # Requests

    def begin(self, client: Client, head: RequestHead) -> None:
        """Hand a request to what serves it."""
        self.requests += 1
        if self.leaving:
            client.http.keep_alive = False
        prepared: RequestPlan | None = head.derived
        if (
            prepared is None
            or prepared.peer is not client.peer
            or prepared.generation != self.site.generation
        ):
            head.derived = prepared = self.site.prepare(head, client.peer)
        prepared.begin(client, head, prepared)

    def next_request_id(self) -> bytes:
        """Return an id that no other request of any gateway has: 16 random digits, a counter."""
        return b"%b%08x" % (self._id_prefix, next(self._ids) & 0xFFFFFFFF)

    def answer_status(self, client: Client, head: RequestHead, _prepared: RequestPlan) -> None:
        """Answer with the scoreboard."""
        self._write_row()
        kind = (b"Content-Type", b"application/json")
        client.answer(200, self._scoreboard.as_json(), head, kind, (b"Cache-Control", b"no-store"))

    def log_own(self, client: Client, head: RequestHead | None, status: int, size: int) -> None:
        """Log a request that was answered without an upstream."""
        if not self.access_log.enabled:
            return
        log = head.derived.log if head is not None and head.derived else LogHead(head)
        write = self.access_log.record if self.access_log.json else self.access_log.combined
        write(client.peer.remote, log, status, size)

    # Bugs

    def _on_bug(self, owner: object) -> None:
        """Log a bug of ours and end what it happened to; the rest goes on."""
        for line in traceback.format_exc().splitlines():
            self.error_log.error(f"bug: {line}")
        if isinstance(owner, Client):
            owner.give_up()
        elif isinstance(owner, UpstreamConnection):
            owner.fail(500, "a bug of the gateway's, see above")


def most_clients(config: Config) -> int:
    """Return how many clients one process takes: by the configuration and the descriptor limit."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    upstream = sum(u.connections * len(u.addresses) for u in config.upstreams.values())
    allowed = max(descriptors - _RESERVE - min(upstream, descriptors // 2), 1)
    return min(config.connections or allowed, allowed)
