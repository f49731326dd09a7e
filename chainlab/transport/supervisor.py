"""Forks and supervises processes: what the masters of the worker and of the gateway share.

- A signal handler only records its number and wakes the loop (signal.set_wakeup_fd); the loop acts.
- In a new process all of the master's signals stay blocked until the process has installed its own
  handlers. None gets lost.
- Each process has a control socket to its master (SOCK_SEQPACKET: messages, not bytes).
- No process outlives its master. It holds the read end of a pipe whose only write end is in the
  master, and when that end closes, the kernel sends it SIGTERM (F_SETSIG, man fcntl(2)). The kernel
  does this whatever the process is doing, and however the master died. PR_SET_PDEATHSIG does the
  same but needs a C library; watching getppid() works only while the process watches.
- A process that does not end in time is killed.
"""

import fcntl
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Final, NoReturn

_FOREVER: Final = float("inf")


class Process:
    """A forked process, as its master sees it."""

    __slots__ = ("_lifeline", "control", "kill_at", "pid", "started")

    def __init__(self, pid: int, control: socket.socket, lifeline: int) -> None:
        self.pid = pid
        self.control: socket.socket | None = control  # nonblocking; None once it has closed
        self.started = time.monotonic()
        self.kill_at = _FOREVER  # when to send SIGKILL
        self._lifeline = lifeline

    def close(self) -> None:
        """Close the master's ends."""
        if self.control is not None:
            self.control.close()
            self.control = None
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


class Supervisor:
    """The processes of one master, and the signals sent to it."""

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._signals = frozenset(signals)
        self._recorded: deque[int] = deque()
        self._processes: dict[int, Process] = {}  # by pid
        self._controls: dict[int, Process] = {}  # by the descriptor of the control socket
        self._died = False  # SIGCHLD has arrived
        self._poll = select.poll()
        self._wakes, self._waker = socket.socketpair()

    def install(self) -> None:
        """Take over the signals; call this in the main thread, once."""
        self._wakes.setblocking(False)
        self._waker.setblocking(False)
        self._poll.register(self._wakes, select.POLLIN)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in self._signals:
            signal.signal(number, self._record)
        signal.signal(signal.SIGCHLD, self._record_death)

    def _record(self, number: int, _frame: FrameType | None) -> None:
        self._recorded.append(number)

    def _record_death(self, _number: int, _frame: FrameType | None) -> None:
        self._died = True

    def take_signal(self) -> int:
        """Return the next signal that has arrived, 0 if there is none."""
        return self._recorded.popleft() if self._recorded else 0

    # Processes

    def fork(self, become: Callable[[socket.socket], NoReturn]) -> Process:
        """Fork a process and return it; in the new process, call `become` with its control socket.

        `become` must not return. It finds the master's signals blocked, SIGCHLD at its default, and
        nothing else of the master's open. Raises OSError if a resource is missing.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            lives, lifeline = os.pipe()
        except OSError:
            ours.close()
            theirs.close()
            raise
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        pid = -1
        try:
            pid = os.fork()
            if pid == 0:
                ours.close()
                os.close(lifeline)
                self._leave_to(lives)
                become(theirs)
        finally:
            if pid:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                os.close(lives)
                theirs.close()
            if pid < 0:
                ours.close()
                os.close(lifeline)
        ours.setblocking(False)
        process = Process(pid, ours, lifeline)
        self._poll.register(ours, select.POLLIN)
        self._processes[pid] = self._controls[ours.fileno()] = process
        return process

    def _leave_to(self, lives: int) -> None:
        """In a new process: close what is the master's; arrange for SIGTERM at the master's end."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._wakes.close()
        self._waker.close()
        for process in self._processes.values():
            process.close()
        self._processes.clear()
        self._controls.clear()
        fcntl.fcntl(lives, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lives, fcntl.F_SETSIG, signal.SIGTERM)
        flags = fcntl.fcntl(lives, fcntl.F_GETFL)
        fcntl.fcntl(lives, fcntl.F_SETFL, flags | os.O_ASYNC)
        poll = select.poll()
        poll.register(lives, 0)
        if poll.poll(0):  # the master ended before the line above
            os.kill(os.getpid(), signal.SIGTERM)

    def wait(self, seconds: float) -> list[Process]:
        """Wait for a signal or a message; return the processes whose control socket is readable."""
        now = time.monotonic()
        until = min([now + seconds, *(process.kill_at for process in self._processes.values())])
        ready = []
        for descriptor, _ in self._poll.poll(max(until - now, 0.0) * 1000):
            if (process := self._controls.get(descriptor)) is not None:
                ready.append(process)
            else:
                self._wakes.recv(4096)
        return ready

    def hang_up(self, process: Process) -> None:
        """Close the control socket of a process that has closed its own end."""
        if process.control is not None:
            self._poll.unregister(process.control)
            del self._controls[process.control.fileno()]
            process.control.close()
            process.control = None

    def end(self, process: Process, number: int, seconds: float) -> None:
        """Send a signal that should end the process; SIGKILL follows after `seconds`."""
        self.limit(process, seconds)
        os.kill(process.pid, number)

    def limit(self, process: Process, seconds: float) -> None:
        """Send SIGKILL to the process after `seconds` if it is still there."""
        process.kill_at = min(process.kill_at, time.monotonic() + seconds)

    def kill_late(self) -> list[Process]:
        """Send SIGKILL to the processes whose time is over; return them."""
        now = time.monotonic()
        late = [process for process in self._processes.values() if process.kill_at <= now]
        for process in late:
            process.kill_at = _FOREVER
            os.kill(process.pid, signal.SIGKILL)
        return late

    def reap(self) -> list[tuple[Process, int]]:
        """Return the processes that have ended and their exit codes; a signal's is negative.

        Their control sockets are still open, for their last messages; call `forget` then.
        """
        if not self._died:
            return []
        self._died = False
        ended = []
        for pid in list(self._processes):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended.append((self._processes.pop(pid), os.waitstatus_to_exitcode(status)))
        return ended

    def forget(self, process: Process) -> None:
        """Close what is left of a process that `reap` returned."""
        self.hang_up(process)
        process.close()
