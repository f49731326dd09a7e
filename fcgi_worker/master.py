"""The master: binds, forks, supervises and respawns children, and passes idle connections on.

The master runs no application code, so it always answers promptly. Its signal handlers only record
the signal and wake the loop (signal.set_wakeup_fd); the loop acts.

    SIGUSR1          reopen the access log
    SIGTERM          exit now, ending the children in mid-request
    SIGQUIT, SIGHUP  finish running requests within `grace` seconds, then exit
    SIGINT           like SIGQUIT; the second time, like SIGTERM

The master replaces a dead child at once, unless it died during start-up: then the delay doubles
each time. If no child ever started because the application cannot be imported, the master logs
this and exits.
"""

import gc
import logging
import os
import select
import signal
import socket
import time
from types import FrameType
from typing import Final, NoReturn

import click

from chainlab.transport import bind_listener, bound_address, remove_socket
from fcgi_worker.child import EXIT_NO_APPLICATION, Child
from fcgi_worker.idle_connections import READY, Borrower, IdleConnections, Keeper
from fcgi_worker.settings import Settings
from fcgi_worker.timing import AccessLog

log = logging.getLogger("fcgi_worker")

_SIGNALS: Final = (
    signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1,
)  # fmt: skip
_TICK: Final = 1.0  # maximum seconds between checks for due work that raises no event
_YOUNG: Final = 1.0  # a child that lived for fewer seconds counts as failed at start-up
_LONGEST_DELAY: Final = 30.0
_END_GRACE: Final = 2.0  # seconds from SIGTERM to SIGKILL


def respawn_delay(failures: int) -> float:
    """Return the seconds to wait before the next fork, after `failures` failed starts in a row."""
    if failures == 0:
        return 0.0
    return min(0.1 * 2.0 ** min(failures - 1, 10), _LONGEST_DELAY)


class _Slot:
    """A place for one child; `number` identifies the owner of a taken connection."""

    __slots__ = ("control", "due", "number", "pid", "ready", "started")

    def __init__(self, number: int) -> None:
        self.number = number  # from 1; 0 means no owner
        self.pid = 0  # 0: not running
        self.control: socket.socket | None = None
        self.started = 0.0
        self.due = 0.0  # when to fork the next one
        self.ready = False


class Master:
    """A worker manager. The constructor binds; it raises ListenError or LogError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._access_log = AccessLog(settings.access_log)
        self._listener = bind_listener(settings.bind)
        self._idle = IdleConnections(self._listener, settings.connections)
        self._keeper = Keeper(self._idle)
        self._slots = [_Slot(number + 1) for number in range(settings.workers)]
        self._poll = select.poll()
        self._wakes, self._waker = socket.socketpair()
        self._failures = 0  # consecutive children that failed at start-up
        self._served = False  # a child has become ready
        self._reopen = False
        self._stop_signal: int = 0  # the stop signal received, or 0
        self._stopping: int = 0  # the stop signal in progress, or 0
        self._deadline = 0.0  # when to send SIGKILL; 0: never
        self._exit_code = 0

    def run(self) -> int:
        """Serve until stopped; return the exit code."""
        self._install_signals()
        gc.freeze()  # keep the collector from writing to pages shared with the children
        next_tick = 0.0
        while True:
            self._handle_signals()
            self._reap()
            if not self._stopping:
                self._fork_due()
            elif not any(slot.pid for slot in self._slots):
                break
            self._wait()
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + _TICK
                self._keeper.revive()
        if not self._exit_code:
            log.info("stopped")
        return self._exit_code

    def _wait(self) -> None:
        """Wait for a child, a signal or the next due action; answer the children."""
        due = [slot.due for slot in self._slots if not slot.pid] if not self._stopping else []
        if self._deadline:
            due.append(self._deadline)
        seconds = min([_TICK, *(max(at - time.monotonic(), 0.0) for at in due)])
        controls = {slot.control.fileno(): slot for slot in self._slots if slot.control}
        for descriptor, _ in self._poll.poll(seconds * 1000):
            if descriptor in controls:
                self._answer(controls[descriptor])
            else:
                self._wakes.recv(4096)

    def _answer(self, slot: _Slot) -> None:
        if slot.control is None:
            return
        while (kind := self._keeper.handle(slot.number, slot.control)) is not None:
            if kind == READY:
                self._on_ready(slot)
            elif not kind:  # the child has closed its end: it is exiting
                self._drop_control(slot)
                return

    def _on_ready(self, slot: _Slot) -> None:
        slot.ready = True
        log.info("child %d is ready", slot.pid)
        if not self._served:
            self._served = True
            click.echo(f"listening on {bound_address(self._listener)}", err=True)

    def _drop_control(self, slot: _Slot) -> None:
        if slot.control is not None:
            self._poll.unregister(slot.control)
            slot.control.close()
            slot.control = None

    # Signals

    def _install_signals(self) -> None:
        self._wakes.setblocking(False)
        self._waker.setblocking(False)
        self._poll.register(self._wakes, select.POLLIN)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # only to wake the loop

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Only record the signal; the wake-up descriptor wakes the loop."""
        if number == signal.SIGUSR1:
            self._reopen = True
            return
        again = number == signal.SIGINT and self._stop_signal
        if number == signal.SIGTERM or again:
            self._stop_signal = signal.SIGTERM
        elif not self._stop_signal:
            self._stop_signal = signal.SIGQUIT

    def _handle_signals(self) -> None:
        if self._reopen:
            self._reopen = False
            self._access_log.reopen()  # future children inherit it
            self._signal_children(signal.SIGUSR1)
        if self._stop_signal != self._stopping:
            if not self._stopping:
                self._close_listener()
            self._stopping = self._stop_signal
            at_once = self._stop_signal == signal.SIGTERM
            log.info("stopping %s", "now" if at_once else "after running requests finish")
            self._deadline = time.monotonic() + (_END_GRACE if at_once else self._settings.grace)
            self._signal_children(self._stop_signal)
            self._idle.stop()
        elif self._deadline and time.monotonic() >= self._deadline:
            log.warning("killing children that did not stop in time")
            self._deadline = 0.0
            self._signal_children(signal.SIGKILL)

    def _close_listener(self) -> None:
        """Refuse new connections at once instead of leaving them in the backlog."""
        remove_socket(self._listener)
        if self._listener.family != socket.AF_UNIX:
            self._listener.shutdown(socket.SHUT_RDWR)

    def _signal_children(self, number: int) -> None:
        for slot in self._slots:
            if slot.pid:
                os.kill(slot.pid, number)

    # Children

    def _fork_due(self) -> None:
        for slot in self._slots:
            if not slot.pid and time.monotonic() >= slot.due:
                self._fork(slot)

    def _fork(self, slot: _Slot) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Signals stay blocked in the child until it has installed its own handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            slot.due = time.monotonic() + _TICK
            log.error("cannot fork: %s", error.strerror)
            return
        else:
            if pid == 0:
                self._become_child(slot, theirs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        ours.setblocking(False)
        self._poll.register(ours, select.POLLIN)
        slot.pid, slot.control, slot.started, slot.ready = pid, ours, time.monotonic(), False

    def _become_child(self, slot: _Slot, control: socket.socket) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            for inherited in (self._wakes, self._waker, *(s.control for s in self._slots)):
                if inherited is not None:
                    inherited.close()
            borrower = Borrower(self._idle, slot.number, control, self._keeper.held)
            Child(self._settings, self._idle, borrower, control, self._access_log).run()
        except BaseException:
            log.critical("a child failed", exc_info=True)
        finally:
            os._exit(1)

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.pid:
                pid, status = os.waitpid(slot.pid, os.WNOHANG)
                if pid:
                    self._bury(slot, os.waitstatus_to_exitcode(status))

    def _bury(self, slot: _Slot, code: int) -> None:
        """Clean up after a dead child and schedule the next one; a negative `code` is a signal."""
        self._answer(slot)  # its last messages: connections to close
        self._drop_control(slot)
        self._keeper.bury(slot.number)
        pid, slot.pid = slot.pid, 0
        if self._stopping:
            return
        lived = time.monotonic() - slot.started
        self._failures = self._failures + 1 if not slot.ready or lived < _YOUNG else 0
        delay = respawn_delay(self._failures)
        slot.due = time.monotonic() + delay
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        if code == EXIT_NO_APPLICATION and not self._served:
            log.critical("stopping: %s cannot be loaded (see above)", self._settings.application)
            self._exit_code = EXIT_NO_APPLICATION
            self._stop_signal = signal.SIGTERM
        else:
            log.error(
                "child %d %s after %.1f s; starting the next in %.1f s", pid, how, lived, delay
            )
