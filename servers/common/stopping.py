"""How servers are stopped: a pipe that wakes, a count that says when all is done.

A signal handler may only record and wake, and Python restarts a system call after it (PEP 475),
so each loop watches a pipe beside its listener. Even that is too late for a signal that comes
just before the system call: Python's handler would run only when the call returns. So the pipe
is the interpreter's wake-up descriptor too, which its handler in C writes to at once.

What still runs when a server is told to stop gets GRACE seconds, in every architecture.
"""

import ctypes
import os
import select
import signal
import threading
import time
from typing import Final

GRACE: Final = 10.0
"""Seconds that running requests get when the server is told to stop."""

_PR_SET_PDEATHSIG: Final = 1  # man prctl(2)
_libc = ctypes.CDLL(None)  # loaded here, so that a forked child need not


class Waker:
    """A pipe in a loop's set of descriptors; `wake` may be called from a signal handler."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._on_signals = False

    def wake_on_signals(self) -> None:
        """Have each signal with a Python handler wake us; for the main thread, until `close`."""
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._on_signals = True

    def fileno(self) -> int:
        """Return the end to watch for reading."""
        return self._reader

    def wake(self) -> None:
        """Make it readable; a full one is readable already, a closed one watched by nobody."""
        try:
            os.write(self._writer, b"!")
        except OSError:
            pass

    def count(self) -> int:
        """Return how often `wake` was called since the last time; at most 4096 at once."""
        try:
            return len(os.read(self._reader, 4096))
        except BlockingIOError:
            return 0

    @property
    def woken(self) -> bool:
        """Whether `wake` was called and not yet counted."""
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`; return whether `wake` was called."""
        return bool(select.select([self._reader], [], [], seconds)[0])

    def rest(self, seconds: float) -> None:
        """Wait up to `seconds` for `wake`, and forget that it was called."""
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
    """Have the kernel kill this process when `parent`, which forked it, ends in whatever way."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)
