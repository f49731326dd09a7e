"""The worker's own log, on stderr.

It does not use `logging`, which belongs to the application: the application may configure the root
logger, disable every logger that it does not know (logging.config does by default) or install a
record factory, and neither side notices the other.

A line never blocks. Under a supervisor stderr is a pipe; if its reader stalls, a blocking write
would stop the master and, with it, every child. Lines that do not fit are counted instead, and the
count is logged when the reader goes on. Whatever is written to a pipe at once is at most PIPE_BUF
bytes long, so that the lines of several processes do not mix (man pipe(7)).
"""

import os
import select
import stat
import time
import traceback
from typing import Final

_PIPE_BUF: Final = select.PIPE_BUF


class Log:
    """A log on a descriptor. Messages are formatted with %, as in `logging`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lost = 0

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
        self._write(line + "\n")

    def _log(self, level: str, message: str, values: tuple[object, ...]) -> None:
        now = time.time()
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        head = f"{when},{int(now * 1000) % 1000:03d} [{level}] {os.getpid()}: "
        if self._lost and self._write(f"{head}{self._lost} log lines were lost: stderr was full\n"):
            self._lost = 0
        if not self._write(head + (message % values if values else message) + "\n"):
            self._lost += 1

    def _write(self, text: str) -> bool:
        """Write the text unless that would block; return whether all of it was written."""
        rest = text.encode(errors="backslashreplace")
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        try:
            most = _PIPE_BUF if stat.S_ISFIFO(os.fstat(self._descriptor).st_mode) else len(rest)
            while rest:
                if not poll.poll(0):
                    return False
                piece = _whole_lines(rest, most)
                rest = rest[os.write(self._descriptor, piece) :]
        except OSError:  # a full disk, a closed pipe: the service goes on
            return False
        return True


def _whole_lines(data: bytes, most: int) -> bytes:
    """Return the beginning of `data`, at most `most` bytes, up to the end of a line if possible."""
    if len(data) <= most:
        return data
    end = data.rfind(b"\n", 0, most) + 1
    return data[: end or most]


log: Final = Log(2)
"""The log of this process."""


def printable(text: str) -> str:
    """Return text from a client with its control characters escaped, so that it stays one line."""
    return text.encode("unicode_escape").decode("ascii")
