"""Forked children: start, reap and stop them, and leave none behind.

Several children may exit while one SIGCHLD is pending, because pending signals of one number are
not queued; so `reap` loops until no exited child is left (man waitpid(2)). PR_SET_PDEATHSIG kills
the children when the parent dies for any reason.
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
    """The running children started through this object."""

    def __init__(self) -> None:
        self._started: dict[int, float] = {}  # by pid

    def __len__(self) -> int:
        return len(self._started)

    def start(self, work: Callable[[], None]) -> int:
        """Fork a child that runs `work` and exits; return its pid. OSError at the process limit.

        SIGTERM is blocked during the fork: PyOS_AfterFork_Child clears pending signals, so a
        signal that arrives before it has run would be lost.
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
            signal.set_wakeup_fd(-1)  # it belongs to the parent, which this child must not wake
            die_with_parent(parent)
            work()
            code = 0
        except BaseException:
            log.exception("a child failed")
        finally:
            os._exit(code)

    def reap(self) -> dict[int, float]:
        """Reap all exited children; return each child's lifetime in seconds, by pid."""
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
        """Send SIGTERM, SIGKILL after GRACE seconds; `wait(seconds)` returns early on SIGCHLD."""
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
