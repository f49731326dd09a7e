"""Forked children: started, reaped in a loop, told to stop, and never left behind.

Several children may end while one SIGCHLD is pending, because signals of a kind are not queued:
so each look reaps until there is none left (man waitpid(2)). A child dies with its parent
(PR_SET_PDEATHSIG), whatever ends that.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable

from servers.common.stopping import GRACE, die_with_parent

log = logging.getLogger("servers")


class Children:
    """The living children of this process that were started here."""

    def __init__(self) -> None:
        self._started: dict[int, float] = {}  # by pid

    def __len__(self) -> int:
        return len(self._started)

    def start(self, work: Callable[[], None]) -> int:
        """Fork a child that does `work` and ends; return its pid. OSError: no process left.

        A signal that finds the child before Python has set itself up there is forgotten
        (PyOS_AfterFork_Child clears what is pending): so SIGTERM waits in the kernel meanwhile.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            pid = os.fork()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if pid:
            self._started[pid] = time.monotonic()
            return pid
        code = 1
        try:
            signal.set_wakeup_fd(-1)  # the parent's, which it must not wake
            die_with_parent(parent)
            work()
            code = 0
        except BaseException:
            log.exception("a child failed")
        finally:
            os._exit(code)

    def reap(self) -> dict[int, float]:
        """Collect all that have ended; return by pid how many seconds each lived."""
        lived: dict[int, float] = {}
        while True:
            try:
                pid, _status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return lived
            if not pid:
                return lived
            lived[pid] = time.monotonic() - self._started.pop(pid, 0.0)

    def stop(self, wait: Callable[[float], object]) -> None:
        """Tell them to finish, for GRACE seconds, then kill; `wait(seconds)` ends on SIGCHLD."""
        deadline = time.monotonic() + GRACE
        self._tell(signal.SIGTERM)
        self.reap()
        while self._started and (left := deadline - time.monotonic()) > 0:
            wait(min(left, 0.5))
            self.reap()
        self._tell(signal.SIGKILL)
        while self._started:
            wait(0.05)
            self.reap()

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._started:
            os.kill(pid, number)
