"""The master: binds listeners, forks and supervises the serving processes, and reloads.

The master serves no requests. Its signal handlers only record the signal and wake the loop.

    SIGHUP   reload the configuration file; if it is invalid, keep the old configuration
    SIGUSR1  reopen the log files
    SIGQUIT  finish running requests within `grace` seconds, then exit
    SIGTERM  exit now
    SIGINT   like SIGQUIT; the second time, like SIGTERM

nginx replaces its processes on a reload; this master updates them in place. Keep-alive client
connections stay open, so no client sends a request into a closing connection. A child process reads
the file (`loading`); the master binds new listeners and sends the result to every process
(`orders`). Each process reports that it serves the new configuration; one that cannot is replaced,
one that is silent is named in the log.
"""

import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from chainlab.transport import Address
from chainlab.transport.logfile import LogError, LogFile, standard_descriptor
from chainlab.transport.table import ConfigError
from gateway.config import Config
from gateway.listeners import Listeners
from gateway.loading import Loading
from gateway.logs import ErrorLog
from gateway.orders import pack_config, receive_report, send_order
from gateway.process import Process
from gateway.scoreboard import ROWS, Scoreboard

_TICK: Final = 0.5  # seconds between checks for due forks and kills, which raise no event
_YOUNG: Final = 1.0  # a process that lives less than this many seconds failed at start-up
_PATIENCE: Final = 5.0  # seconds for a process to take a configuration
_END_GRACE: Final = 2.0  # seconds from SIGTERM to SIGKILL
_LAST_LINES: Final = 1.0  # seconds that the reader of the log has at the end
_SIGNALS: Final = (
    signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1,
)  # fmt: skip


class _Slot:
    """A place for one process, with its scoreboard row."""

    __slots__ = ("answer_by", "control", "due", "generation", "leaving", "pid", "row", "started")

    def __init__(self, row: int) -> None:
        self.row = row
        self.pid = 0  # 0: not running
        self.control: socket.socket | None = None
        self.started = 0.0
        self.due = 0.0  # when to fork the next one
        self.generation = 0  # the configuration that the process reports to serve
        self.answer_by = 0.0  # when a report of the process is overdue; 0: none is expected
        self.leaving = False  # a reload needs fewer processes


class Master:
    """A gateway, from bind to exit.

    The constructor binds; it raises ListenError or LogError. `path` is the configuration file;
    None if `config` comes from flags, which cannot be reloaded.
    """

    def __init__(self, config: Config, path: Path | None) -> None:
        self._config = config
        self._path = path
        self._generation = 1
        self._log = ErrorLog(config.log)
        _require_writable(config)
        self._listeners = Listeners()
        self._listeners.bind(config.listen)
        self._scoreboard = Scoreboard()
        self._slots = [_Slot(row) for row in range(config.workers)]
        self._wakes, self._waker = socket.socketpair()
        self._poll = select.poll()
        self._signalled: list[int] = []
        self._stopping = 0  # the stop signal in progress, or 0
        self._kill_at = 0.0
        self._announced = False
        self._loading: Loading | None = None

    def run(self) -> int:
        """Serve until stopped; return the exit code."""
        self._install_signals()
        while True:
            self._handle_signals()
            self._reap()
            if not self._stopping:
                self._fork_due()
            elif not any(slot.pid for slot in self._slots):
                break
            self._wait()
        self._listeners.close_others(())
        self._log.info("stopped")
        self._log.drain(_LAST_LINES)
        return 0

    def _wait(self) -> None:
        controls = {slot.control.fileno(): slot for slot in self._slots if slot.control}
        for descriptor, _ in self._poll.poll(_TICK * 1000):
            if descriptor in controls:
                self._receive(controls[descriptor])
            elif descriptor == self._wakes.fileno():
                self._wakes.recv(4096)
            elif self._loading is not None and self._loading.receive():
                self._finish_loading()
        if self._loading is not None and self._loading.late:
            self._finish_loading()
        self._report_silent()
        self._log.flush()

    def _receive(self, slot: _Slot) -> None:
        assert slot.control is not None
        try:
            report = receive_report(slot.control)
        except BlockingIOError:
            return
        except EOFError:  # the process has closed its end
            self._drop_control(slot)
            return
        if report.problem:
            self._log.error(
                f"process {slot.pid} cannot take configuration {report.generation}, replacing it: "
                f"{report.problem}"
            )
            slot.answer_by = 0.0
            os.kill(slot.pid, signal.SIGQUIT)
            return
        slot.generation = report.generation
        if slot.generation == self._generation:
            slot.answer_by = 0.0
        if not self._announced and all(slot.generation for slot in self._slots):
            self._announced = True
            self._announce()

    def _report_silent(self) -> None:
        """Log the processes that have not reported in time to serve the new configuration."""
        now = time.monotonic()
        for slot in self._slots:
            if slot.pid and slot.answer_by and now >= slot.answer_by:
                slot.answer_by = 0.0
                self._log.error(
                    f"process {slot.pid} still serves configuration {slot.generation}: it has not "
                    f"taken {self._generation} within {_PATIENCE:g} s; kill it if it hangs"
                )

    def _announce(self) -> None:
        """Say on stderr where the gateway listens, wherever the logs go."""
        stderr = LogFile("-", standard_descriptor(sys.__stderr__))
        for address in self._listeners.bound():
            stderr.write(f"listening on {address}\n".encode())
        stderr.drain(_LAST_LINES)
        stderr.close()

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
        self._signalled.append(number)

    def _handle_signals(self) -> None:
        while self._signalled:
            number = self._signalled.pop(0)
            if number == signal.SIGHUP:
                self._reload()
            elif number == signal.SIGUSR1:
                self._reopen_logs()
            else:
                self._stop(number)
        if self._kill_at and time.monotonic() >= self._kill_at:
            self._kill_at = 0.0
            self._log.warn("killing processes that did not stop in time")
            self._signal_all(signal.SIGKILL)

    def _reopen_logs(self) -> None:
        try:
            self._log.reopen()
        except LogError as error:
            self._log.error(str(error))
        self._signal_all(signal.SIGUSR1)

    def _stop(self, number: int) -> None:
        if number == signal.SIGINT:
            number = signal.SIGTERM if self._stopping else signal.SIGQUIT
        if self._stopping in (number, signal.SIGTERM):
            return
        self._stopping = number
        self._stop_loading()
        at_once = number == signal.SIGTERM
        self._log.info("stopping now" if at_once else "stopping after running requests finish")
        grace = _END_GRACE if at_once else self._config.timeouts.grace + _END_GRACE
        self._kill_at = time.monotonic() + grace
        self._signal_all(number)

    def _signal_all(self, number: int) -> None:
        for slot in self._slots:
            if slot.pid:
                os.kill(slot.pid, number)

    # Reloading

    def _reload(self) -> None:
        """Start to read the configuration file; a reading in progress is abandoned."""
        if self._path is None:
            self._log.warn("SIGHUP ignored: the gateway was started without a configuration file")
            return
        if self._stopping:
            return
        self._stop_loading()
        try:
            self._loading = Loading(self._path, _SIGNALS)
        except OSError as error:
            self._refuse(error)
            return
        self._poll.register(self._loading, select.POLLIN)

    def _stop_loading(self) -> None:
        if self._loading is not None:
            self._poll.unregister(self._loading)
            self._loading.stop()
            self._loading = None

    def _finish_loading(self) -> None:
        assert self._loading is not None
        loading, self._loading = self._loading, None
        self._poll.unregister(loading)
        try:
            self._take(loading.result())
        except Exception as error:  # noqa: BLE001 - no configuration may end a running gateway
            self._refuse(error)

    def _take(self, config: Config) -> None:
        """Replace the configuration; whatever can fail comes first and leaves nothing behind."""
        _require_writable(config)
        log = ErrorLog(config.log) if config.log != self._config.log else self._log
        fresh: list[Address] = []
        try:
            fresh = self._listeners.bind(config.listen)
            memory = pack_config(config)
        except BaseException:
            self._listeners.close(fresh)
            if log is not self._log:
                log.close()
            raise
        if log is not self._log:
            self._log.close()
            self._log = log
        self._generation += 1
        self._config = config
        self._listeners.close_others(config.listen)
        self._resize(config.workers)
        self._send_configuration(memory)
        os.close(memory)
        self._log.info(f"configuration {self._generation} read from {self._path}")

    def _refuse(self, error: Exception) -> None:
        """Log every reason for which a new configuration is not taken."""
        known = isinstance(error, ConfigError | LogError | OSError)
        for reason in str(error).split("\n") if known else [f"{error!r}; please report this"]:
            self._log.error(f"new configuration refused, keeping the old one: {reason}")

    def _resize(self, workers: int) -> None:
        """Add slots for new processes, or ask surplus processes to quit."""
        kept = [slot for slot in self._slots if not slot.leaving]
        for slot in kept[workers:]:
            slot.leaving = True
            if slot.pid:
                os.kill(slot.pid, signal.SIGQUIT)
        free = sorted(set(range(ROWS)) - {slot.row for slot in self._slots})
        self._slots += [_Slot(row) for row in free[: max(0, workers - len(kept))]]

    def _send_configuration(self, memory: int) -> None:
        """Send the configuration to every running process; expect a report from each."""
        listeners = self._listeners.at(self._config.listen)
        for slot in self._slots:
            if slot.control is None or slot.leaving:
                continue
            slot.answer_by = time.monotonic() + _PATIENCE
            try:
                send_order(slot.control, self._generation, self._config.workers, memory, listeners)
            except OSError as error:
                self._log.error(f"process {slot.pid} cannot be reconfigured: {error.strerror}")

    # Processes

    def _fork_due(self) -> None:
        for slot in self._slots:
            if not slot.pid and not slot.leaving and time.monotonic() >= slot.due:
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
            slot.due = time.monotonic() + _YOUNG
            self._log.error(f"cannot fork: {error.strerror}")
            return
        else:
            if pid == 0:
                ours.close()
                self._become_process(slot, theirs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        ours.setblocking(False)
        self._poll.register(ours, select.POLLIN)
        slot.pid, slot.control, slot.started = pid, ours, time.monotonic()
        slot.generation = 0

    def _become_process(self, slot: _Slot, control: socket.socket) -> NoReturn:
        code = 1
        self._log.abandon()
        try:
            for inherited in (self._wakes, self._waker, *(s.control for s in self._slots)):
                if inherited is not None:
                    inherited.close()
            if self._loading is not None:
                os.close(self._loading.fileno())
            Process(
                self._config,
                self._generation,
                self._config.workers,
                self._listeners.at(self._config.listen),
                control,
                self._scoreboard,
                slot.row,
            ).run()
            code = 0
        except BaseException as error:  # noqa: BLE001 - must not unwind into the master
            ErrorLog(self._config.log).error(f"a process failed: {error!r}")
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.pid:
                pid, status = os.waitpid(slot.pid, os.WNOHANG)
                if pid:
                    self._bury(slot, os.waitstatus_to_exitcode(status))
        self._slots = [slot for slot in self._slots if slot.pid or not slot.leaving]

    def _bury(self, slot: _Slot, code: int) -> None:
        self._drop_control(slot)
        self._scoreboard.write(slot.row, 0, 0)
        pid, slot.pid = slot.pid, 0
        slot.answer_by = 0.0
        if self._stopping or slot.leaving:
            return
        young = time.monotonic() - slot.started < _YOUNG
        slot.due = time.monotonic() + (_YOUNG if young else 0.0)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        self._log.error(f"process {pid} {how}; starting a replacement")

    def _drop_control(self, slot: _Slot) -> None:
        if slot.control is not None:
            self._poll.unregister(slot.control)
            slot.control.close()
            slot.control = None


def _require_writable(config: Config) -> None:
    """Raise LogError now if the access log cannot be opened, rather than later in each process."""
    LogFile(config.log.access, standard_descriptor(sys.__stdout__)).close()
