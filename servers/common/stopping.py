"""Stopping servers: a pipe that wakes the loop, and a counter of running requests.

A signal handler may only set a flag and wake the loop, and Python restarts interrupted system calls
(PEP 475), so each loop watches a pipe next to its listener. Even that is too late for a signal
that arrives just before the system call: Python's handler would run only after the call returns.
So the pipe is also the interpreter's wake-up descriptor, which the C-level handler writes at once.

Every architecture gives running requests GRACE seconds when the server is asked to stop.
"""

import ctypes
import os
import select
import signal
import threading
import time
from typing import Final

GRACE: Final = 10.0
"""Seconds that running requests may take to finish after a stop."""

_PR_SET_PDEATHSIG: Final = 1  # man prctl(2)
_libc = ctypes.CDLL(None)  # loaded here, so that a forked child need not


class Waker:
    """A pipe in a loop's set of descriptors; `wake` may be called from a signal handler."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._on_signals = False

    def wake_on_signals(self) -> None:
        """Let each signal with a Python handler wake the loop; main thread only, until `close`."""
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._on_signals = True

    def fileno(self) -> int:
        """Return the end to watch for reading."""
        return self._reader

    def wake(self) -> None:
        """Make the pipe readable; a full pipe already is, and a closed pipe is not watched."""
        try:
            os.write(self._writer, b"!")
        except OSError:
            pass

    def count(self) -> int:
        """Drain the pipe; return the number of `wake` calls since the last drain (at most 4096)."""
        try:
            return len(os.read(self._reader, 4096))
        except BlockingIOError:
            return 0

    @property
    def woken(self) -> bool:
        """Whether a `wake` call is pending."""
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`; return whether `wake` was called."""
        return bool(select.select([self._reader], [], [], seconds)[0])

    def rest(self, seconds: float) -> None:
        """Wait up to `seconds` for `wake`, and drain the pipe."""
        self.wait(seconds)
        self.count()

    def close(self) -> None:
        """Close both ends."""
        if self._on_signals:
            signal.set_wakeup_fd(-1)
        reader, writer = self._reader, self._writer
        self._reader = self._writer = -1
        os.close(reader)
        os.close(writer)


class Running:
    """A context manager around each request, counted across threads."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait_until_none(self, seconds: float) -> bool:
        """Return True as soon as nothing runs, False after `seconds`."""
        deadline = time.monotonic() + seconds
        with self._changed:
            return self._changed.wait_for(lambda: not self._count, deadline - time.monotonic())


def die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when `parent`, which forked it, dies for any reason."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before prctl
        os._exit(1)
