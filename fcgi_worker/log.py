"""The worker's own log, on stderr.

It does not use `logging`, which belongs to the application: the application may configure the root
logger, disable every logger that it does not know (logging.config does by default) or install a
record factory, and neither side notices the other.

A line never blocks (`chainlab.transport.logfile`): under a supervisor stderr is a pipe, and if its
reader stalls, a blocking write would stop the master and, with it, every child.
"""

import contextlib
import os
import sys
import time
import traceback
from typing import Final

from chainlab.transport.logfile import LogError, LogFile, standard_descriptor


class Log:
    """A log of one process on its stderr. Messages are formatted with %, as in `logging`."""

    def __init__(self) -> None:
        self._file: LogFile | None = None

    def open(self) -> None:
        """Open the log; before the first line unless descriptors may be scarce by then."""
        if self._file is None:
            with contextlib.suppress(LogError):
                self._file = LogFile("-", standard_descriptor(sys.__stderr__))

    def abandon(self) -> None:
        """Close the log in a new process: the lines that wait are its parent's."""
        if self._file is not None:
            self._file.abandon()
            self._file = None

    def info(self, message: str, *values: object) -> None:
        """Log what happened as intended."""
        self._log("INFO", message, values)

    def warning(self, message: str, *values: object) -> None:
        """Log what somebody should look at some day."""
        self._log("WARNING", message, values)

    def error(self, message: str, *values: object) -> None:
        """Log a failure."""
        self._log("ERROR", message, values)

    def critical(self, message: str, *values: object) -> None:
        """Log a failure that ends the service."""
        self._log("CRITICAL", message, values)

    def exception(self, message: str, *values: object) -> None:
        """Log a failure with the traceback of the exception being handled."""
        self._log("ERROR", message + "\n%s", (*values, traceback.format_exc().rstrip()))

    def say(self, line: str) -> None:
        """Write a line without time and level."""
        self.open()
        if self._file is not None:
            self._file.write((line + "\n").encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Write the lines that had to wait; report those that were lost."""
        if self._file is not None and self._file.flush() and self._file.lost:
            self.error("log: %s", self._file.take_lost())

    def drain(self, seconds: float) -> None:
        """Write the lines that had to wait; give a slow reader up to `seconds`."""
        if self._file is not None:
            self._file.drain(seconds)

    def _log(self, level: str, message: str, values: tuple[object, ...]) -> None:
        now = time.time()
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        text = message % values if values else message
        self.say(f"{when},{int(now * 1000) % 1000:03d} [{level}] {os.getpid()}: {text}")


log: Final = Log()
"""The log of this process."""


def printable(text: str) -> str:
    """Return text from a client with its control characters escaped, so that it stays one line."""
    return text.encode("unicode_escape").decode("ascii")
