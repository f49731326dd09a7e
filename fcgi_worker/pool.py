"""A pool: one application, its listener, its idle connections and its children.

The pool runs no application code. Everything it knows about its children it reads from the
scoreboard and from their messages; what to do about it, `fcgi_worker.policy` decides.

A child leaves for one of these reasons:

    the pool stops       SIGQUIT, or SIGTERM if it stops at once
    a reload             old code: SIGQUIT once a successor is ready
    a limit of its own   --max-requests, --max-memory: likewise
    a request too long   --request-timeout: SIGKILL, after its Python stack has been logged
    it dies              its connections are closed, and a successor starts at once
"""

import os
import resource
import signal
import socket
import time
from pathlib import Path
from typing import Final, NoReturn

from chainlab.transport import bind_listener, bound_address, remove_socket
from chainlab.transport.supervisor import Process, Supervisor
from fcgi_worker import policy
from fcgi_worker.child import EXIT_NO_APPLICATION, Child
from fcgi_worker.idle_connections import DUE, PAUSE, READY, Borrower, IdleConnections
from fcgi_worker.interrupts import STACK_SIGNAL
from fcgi_worker.keeper import Keeper
from fcgi_worker.log import log, printable
from fcgi_worker.peer import accept
from fcgi_worker.scoreboard import Scoreboard
from fcgi_worker.settings import Settings
from fcgi_worker.timing import AccessLog

TICK: Final = 1.0
"""Maximum seconds between two looks at the children."""

_END_GRACE: Final = 2.0  # seconds from SIGTERM to SIGKILL
_EXIT_GRACE: Final = 5.0  # seconds for a child's exit handlers, threads and processes
_LISTENER_PAUSE: Final = 0.1  # seconds without new connections after a failed accept
_STACK_WAIT: Final = 0.2  # seconds for a child to write its stacks
_STACK_LIMIT: Final = 65536  # bytes of stacks that are logged
_ROWS_PER_WORKER: Final = 4  # children that leave, and their successors, are there at once
_NEVER: Final = float("inf")


class Forked(BaseException):
    """Raised in a new process: takes it out of the master's stack, to run `child`."""

    def __init__(self, child: Child) -> None:
        super().__init__()
        self.child = child


class _Member:
    """A child, as the pool sees it. `number` is its row and the owner of connections it took."""

    def __init__(self, number: int, generation: int, stack_file: int) -> None:
        self.number = number  # from 1; 0 means no owner
        self.process: Process
        self.generation = generation
        self.stack_file = stack_file
        self.ready = False
        self.due = False  # it has reached a limit; a successor is to take its place
        self.leaving = False
        self.stuck_since = 0.0  # when the request began that runs too long
        self.verdict_at = _NEVER  # when to look again, and kill


class Pool:
    """The children of one application. The constructor binds; it raises ListenError or LogError."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._access_log = AccessLog(settings.access_log)
        self._listener = bind_listener(settings.bind, socket_file=settings.socket_file)
        self._idle = IdleConnections(self._listener, settings.connections)
        self._keeper = Keeper(self._idle)
        self.scoreboard = Scoreboard(1 + settings.workers * _ROWS_PER_WORKER)
        self._members: dict[int, _Member] = {}  # by number
        self._by_pid: dict[int, _Member] = {}
        self._generation = 1
        self._proven = False  # a child of this generation has become ready
        self._served = False  # a child has become ready
        self._failures = 0  # failed starts in a row
        self._fork_at = 0.0  # no fork before this time
        self._rearm_at = _NEVER
        self._look_at = 0.0 if settings.request_timeout else _NEVER
        self._tick_at = 0.0
        self._changed = True  # the policy has something to decide
        self._stopping = False
        self.exit_code = 0

    @property
    def empty(self) -> bool:
        """True if no child is left."""
        return not self._members

    # What the master calls

    def act(self) -> None:
        """Do everything that is due."""
        now = time.monotonic()
        if now >= self._rearm_at:
            self._rearm_at = _NEVER
            self._idle.arm_listener()
        if now >= self._look_at:
            self._end_overdue(now)
        if now >= self._tick_at:
            self._tick_at = now + TICK
            self._on_tick(now)
        if self._changed and now >= self._fork_at and not self._stopping:
            self._changed = False
            self._follow_policy()

    def seconds_to_wait(self) -> float:
        """Return how long nothing is due if no child reports."""
        due = min(self._tick_at, self._rearm_at, self._look_at)
        if self._changed and not self._stopping:
            due = min(due, self._fork_at)
        return max(due - time.monotonic(), 0.0)

    def receive(self, process: Process) -> None:
        """Handle the messages of a child."""
        member = self._by_pid.get(process.pid)
        while member is not None and process.control is not None:
            kind = self._keeper.handle(member.number, process.control)
            if kind is None:
                return
            if kind == READY:
                self._on_ready(member)
            elif kind == DUE:
                self._replace(member)
            elif kind == PAUSE:
                self._rearm_at = time.monotonic() + _LISTENER_PAUSE
            elif not kind:  # it has closed its end: it runs its exit handlers
                self._supervisor.hang_up(process)
                self._expect_end(member)

    def bury(self, process: Process, code: int) -> None:
        """Clean up after a child that has ended; a negative `code` is a signal."""
        member = self._by_pid[process.pid]
        self.receive(process)  # its last messages: connections to close
        self._supervisor.forget(process)
        self._keeper.bury(member.number)
        self._idle.take_nudges()  # one of its own would keep the others awake
        row = self.scoreboard.read(member.number)
        busy = self.scoreboard.busy_since(member.number)
        self.scoreboard.free(member.number)
        del self._members[member.number], self._by_pid[process.pid]
        self._changed = True
        if member.stack_file >= 0:
            os.close(member.stack_file)
        if self._stopping or (member.leaving and code == 0):
            return
        lived = time.monotonic() - process.started
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with {code}"
        if busy:
            how += f" while it served {printable(row.line)}"
        log.error("child %d %s, after %.1f s", process.pid, how, lived)
        failed = policy.failed_to_start(member.ready, row.requests, lived)
        self._failures = self._failures + 1 if failed else 0
        self._fork_at = time.monotonic() + policy.respawn_delay(self._failures)
        if not member.ready:
            self._on_failed_start(member, code)

    def reload(self) -> None:
        """Replace every child by one that loads the application anew."""
        if self._stopping:
            return
        log.info("loading the application anew")
        self._generation += 1
        self._proven = False
        self._failures, self._fork_at, self._changed = 0, 0.0, True
        for member in self._members.values():
            if not member.ready:  # it may have loaded old code, or never be done with loading
                member.leaving = True
                self._supervisor.end(member.process, signal.SIGTERM, _END_GRACE)

    def reopen_logs(self) -> None:
        """Reopen the access log, here and in the children."""
        self._access_log.reopen()  # future children inherit it
        for member in self._members.values():
            os.kill(member.process.pid, signal.SIGUSR1)

    def stop(self, *, at_once: bool) -> None:
        """Stop taking connections and end the children."""
        if not self._stopping:
            self._stopping = True
            self._idle.stop()
            remove_socket(self._listener)
            if not at_once:
                self._adopt_backlog()
            self._close_listener()
        for member in self._members.values():
            if at_once or not member.ready:
                self._supervisor.end(member.process, signal.SIGTERM, _END_GRACE)
            else:
                self._supervisor.end(member.process, signal.SIGQUIT, self._settings.grace)
        if not at_once:
            self._keeper.close_idle(time.monotonic(), 0.0)

    def close(self) -> None:
        """Close what is left, after the last child."""
        self._keeper.close_all()
        self._idle.close()

    # Children

    def _on_ready(self, member: _Member) -> None:
        member.ready = self._changed = True
        log.info("child %d is ready", member.process.pid)
        if member.generation == self._generation:
            self._proven = True
        if not self._served:
            self._served = True
            log.say(f"listening on {bound_address(self._listener)}")

    def _on_failed_start(self, member: _Member, code: int) -> None:
        if code == EXIT_NO_APPLICATION and not self._served:
            log.critical("stopping: %s cannot be loaded (see above)", self._settings.application)
            self.exit_code = EXIT_NO_APPLICATION
        elif member.generation == self._generation and not self._proven and self._served:
            others = [m for m in self._members.values() if m.ready and not m.leaving]
            if others:
                log.error("the new code cannot be loaded (see above); keeping the old children")
                self._generation = max(other.generation for other in others)
                self._proven = True

    def _replace(self, member: _Member) -> None:
        """Start a successor; the child goes on until that is ready."""
        member.due = self._changed = True

    def _expect_end(self, member: _Member) -> None:
        """A child serves no more: give its exit handlers and threads a bounded time."""
        member.leaving |= member.ready  # otherwise it is a failed start; `bury` decides
        self._supervisor.limit(member.process, min(_EXIT_GRACE, self._settings.grace))
        self._changed = True

    def _follow_policy(self) -> None:
        children = [
            policy.View(
                member.number,
                member.ready,
                member.generation == self._generation and not member.due,
                self.scoreboard.busy_since(member.number) > 0,
            )
            for member in self._members.values()
            if not member.leaving
        ]
        fork, leave = policy.static(children, self._settings.workers, self._proven)
        for number in leave:
            member = self._members[number]
            member.leaving = self._changed = True
            self._supervisor.end(member.process, signal.SIGQUIT, self._settings.grace)
        for _ in range(fork):
            if not self._fork():
                return

    def _fork(self) -> bool:
        """Fork a child; return False if that must wait."""
        free = set(range(1, len(self.scoreboard))) - self._members.keys()
        if not free:
            return False  # until a child that leaves has left
        stack_file = -1
        try:
            if self._settings.request_timeout:
                stack_file = os.memfd_create("stacks")
            member = _Member(min(free), self._generation, stack_file)
            member.process = self._supervisor.fork(lambda control: self._become(member, control))
        except OSError as error:
            log.error("cannot fork: %s", error.strerror)
            if stack_file >= 0:
                os.close(stack_file)
            self._fork_at, self._changed = time.monotonic() + TICK, True
            return False
        self._members[member.number] = self._by_pid[member.process.pid] = member
        return True

    def _become(self, member: _Member, control: socket.socket) -> NoReturn:
        for other in self._members.values():
            if other.stack_file >= 0:
                os.close(other.stack_file)
        number = member.number
        raise Forked(
            Child(
                self._settings,
                self._idle,
                Borrower(self._idle, number, control, self._keeper.held),
                control,
                self.scoreboard.mark(number),
                self._access_log,
                member.stack_file,
            )
        )

    # Limits

    def _end_overdue(self, now: float) -> None:
        """Kill the children whose request runs too long; first let them show their stacks.

        Twice the scoreboard must say so, because the request may end at any moment.
        """
        limit = self._settings.request_timeout
        self._look_at = now + limit  # what begins from now on is not due before
        for member in self._members.values():
            since = self.scoreboard.busy_since(member.number)
            if since != member.stuck_since:
                member.stuck_since = 0.0
            if since and not member.stuck_since and now - since >= limit:
                member.stuck_since = since
                member.verdict_at = now + _STACK_WAIT
                os.truncate(member.stack_file, 0)
                os.lseek(member.stack_file, 0, os.SEEK_SET)
                os.kill(member.process.pid, STACK_SIGNAL)
            elif member.stuck_since and now >= member.verdict_at:
                member.verdict_at = _NEVER
                self._kill_stuck(member, now)
            if since:
                due = member.verdict_at if member.stuck_since else since + limit
                self._look_at = min(self._look_at, due)

    def _kill_stuck(self, member: _Member, now: float) -> None:
        stacks = os.pread(member.stack_file, _STACK_LIMIT, 0).decode(errors="replace").rstrip()
        log.error(
            "child %d is killed: %s has run for %.1f s, --request-timeout is %g\n%s",
            member.process.pid,
            printable(self.scoreboard.read(member.number).line),
            now - member.stuck_since,
            self._settings.request_timeout,
            stacks or "it did not show its stack",
        )
        os.kill(member.process.pid, signal.SIGKILL)

    def _on_tick(self, now: float) -> None:
        log.flush()
        self._keeper.revive(now)
        if self._stopping:
            self._keeper.close_idle(now, 0.0)
        elif self._settings.idle_timeout:
            self._keeper.close_idle(now, self._settings.idle_timeout)
        if self._settings.max_memory:
            self._watch_memory()

    def _watch_memory(self) -> None:
        limit = self._settings.max_memory
        for member in self._members.values():
            resident = _resident(member.process.pid)
            self.scoreboard.set_memory(member.number, resident)
            if resident > limit and not member.due:
                self._replace(member)
                log.info(
                    "child %d has %d MiB, --max-memory is %d: replacing it",
                    member.process.pid, resident >> 20, limit >> 20,
                )  # fmt: skip

    # The listener

    def _adopt_backlog(self) -> None:
        """Take the connections that wait to be accepted: their requests are still served."""
        try:
            while (descriptor := accept(self._listener, self._settings)) >= 0:
                self._keeper.adopt(descriptor)
        except OSError as error:
            log.error("accept: %s", error.strerror)

    def _close_listener(self) -> None:
        """Refuse new connections at once instead of leaving them in the backlog."""
        self._idle.epoll.unregister(self._listener)
        if self._listener.family != socket.AF_UNIX:
            self._listener.shutdown(socket.SHUT_RDWR)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _resident(pid: int) -> int:
    """Return the resident bytes of a process, 0 if it has ended (man proc_pid_statm(5))."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * resource.getpagesize()
