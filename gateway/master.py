"""The master: binds listeners, forks and supervises the serving processes, and reloads.

The master serves no requests. Its signal handlers only record the signal and wake the loop.

    SIGHUP   reload the configuration file; if it is invalid, keep the old configuration
    SIGUSR1  reopen the log files
    SIGQUIT  finish running requests within `grace` seconds, then exit
    SIGTERM  exit now
    SIGINT   like SIGQUIT; the second time, like SIGTERM

nginx replaces its processes on a reload; this master updates them in place. Keep-alive client
connections stay open, so no client sends a request into a closing connection. The master sends
the configuration text to each process in an anonymous file (memfd), along with the listeners.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from chainlab.transport import Address, ListenError, bind_listener, bound_address, remove_socket
from chainlab.transport.logfile import LogError, LogFile, standard_descriptor
from chainlab.transport.table import ConfigError
from gateway.config import Config, parse_config, read_config
from gateway.logs import ErrorLog
from gateway.process import CONTROL_LIMIT, READY, Process
from gateway.scoreboard import ROWS, Scoreboard

_TICK: Final = 0.5  # seconds between checks for due forks and kills, which raise no event
_YOUNG: Final = 1.0  # a process that lives less than this many seconds failed at start-up
_END_GRACE: Final = 2.0  # seconds from SIGTERM to SIGKILL
_LAST_LINES: Final = 1.0  # seconds that the reader of the log has at the end
_SIGNALS: Final = (
    signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1,
)  # fmt: skip


class _Slot:
    """A place for one process, with its scoreboard row."""

    __slots__ = ("control", "due", "leaving", "pid", "row", "started")

    def __init__(self, row: int) -> None:
        self.row = row
        self.pid = 0  # 0: not running
        self.control: socket.socket | None = None
        self.started = 0.0
        self.due = 0.0  # when to fork the next one
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
        self._listeners: dict[Address, socket.socket] = {}
        self._bind(config)
        self._scoreboard = Scoreboard()
        self._slots = [_Slot(row) for row in range(config.workers)]
        self._wakes, self._waker = socket.socketpair()
        self._poll = select.poll()
        self._signalled: list[int] = []
        self._stopping = 0  # the stop signal in progress, or 0
        self._kill_at = 0.0
        self._announced = False
        self._ready: set[int] = set()

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
        self._close_listeners(list(self._listeners))
        self._log.info("stopped")
        self._log.drain(_LAST_LINES)
        return 0

    def _wait(self) -> None:
        controls = {slot.control.fileno(): slot for slot in self._slots if slot.control}
        for descriptor, _ in self._poll.poll(_TICK * 1000):
            if descriptor in controls:
                self._receive(controls[descriptor])
            else:
                self._wakes.recv(4096)
        self._log.flush()

    def _receive(self, slot: _Slot) -> None:
        assert slot.control is not None
        try:
            message = slot.control.recv(64)
        except OSError:
            message = b""
        if message == READY:
            self._ready.add(slot.pid)
            if not self._announced and len(self._ready) == len(self._slots):
                self._announced = True
                self._announce()
        elif not message:  # the process has closed its end
            self._drop_control(slot)

    def _announce(self) -> None:
        """Say on stderr where the gateway listens, wherever the logs go."""
        stderr = LogFile("-", standard_descriptor(sys.__stderr__))
        for listener in self._listeners.values():
            stderr.write(f"listening on {bound_address(listener)}\n".encode())
        stderr.drain(_LAST_LINES)
        stderr.close()

    # Listeners

    def _bind(self, config: Config) -> list[Address]:
        """Bind the new addresses in `config` and return them; if one fails, bind none."""
        fresh: list[Address] = []
        try:
            for address in config.listen:
                if address not in self._listeners:
                    self._listeners[address] = bind_listener(address)
                    fresh.append(address)
        except ListenError:
            self._close_listeners(fresh)
            raise
        return fresh

    def _close_listeners(self, addresses: list[Address]) -> None:
        for address in addresses:
            listener = self._listeners.pop(address)
            remove_socket(listener)
            listener.close()

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
        if self._path is None:
            self._log.warn("SIGHUP ignored: the gateway was started without a configuration file")
            return
        if self._stopping:
            return
        try:
            text = read_config(self._path)
            config = parse_config(text, str(self._path))
            _require_writable(config)
            log = ErrorLog(config.log) if config.log != self._config.log else None
            try:
                self._bind(config)
            except BaseException:
                if log is not None:
                    log.close()
                raise
        except Exception as error:  # noqa: BLE001 - no configuration may end a running gateway
            self._refuse(error)
            return
        if log is not None:
            self._log.close()
            self._log = log
        self._generation += 1
        self._config = config
        self._close_listeners([a for a in self._listeners if a not in config.listen])
        self._resize(config.workers)
        self._send_configuration(text)
        self._log.info(f"configuration {self._generation} read from {self._path}")

    def _refuse(self, error: Exception) -> None:
        """Log every reason for which a new configuration is not taken."""
        known = isinstance(error, ConfigError | ListenError | LogError)
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

    def _send_configuration(self, text: str) -> None:
        """Send the configuration to every running process."""
        order = {
            "name": str(self._path),
            "generation": self._generation,
            "processes": self._config.workers,
        }
        message = json.dumps(order).encode()
        assert len(message) < CONTROL_LIMIT
        memory = os.memfd_create("configuration")
        try:
            os.pwrite(memory, text.encode(), 0)
            for slot in self._slots:
                if slot.control is not None:
                    self._send(slot, message, memory)
        finally:
            os.close(memory)

    def _send(self, slot: _Slot, message: bytes, memory: int) -> None:
        assert slot.control is not None
        # Open the memfd anew for each process: descriptors passed over a socket share one offset.
        source = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
        listeners = [self._listeners[address].fileno() for address in self._config.listen]
        try:
            socket.send_fds(slot.control, [message], [source, *listeners])
        except OSError as error:
            self._log.error(f"process {slot.pid} cannot be reconfigured: {error.strerror}")
        finally:
            os.close(source)

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

    def _become_process(self, slot: _Slot, control: socket.socket) -> NoReturn:
        code = 1
        self._log.abandon()
        try:
            for inherited in (self._wakes, self._waker, *(s.control for s in self._slots)):
                if inherited is not None:
                    inherited.close()
            listeners = [self._listeners[address] for address in self._config.listen]
            Process(
                self._config,
                self._generation,
                self._config.workers,
                listeners,
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
        self._ready.discard(slot.pid)
        self._scoreboard.write(slot.row, 0, 0)
        pid, slot.pid = slot.pid, 0
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
