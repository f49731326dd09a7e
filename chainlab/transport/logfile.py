"""Log files that can be moved and reopened (SIGUSR1), with buffered lines.

Each write is one call in append mode, so several processes can share a file without mixing lines.
Unbuffered, every request would cost a system call; buffered, up to 32 KiB or for one second, a few
hundred requests share one.
"""

import contextlib
import json
import os
from functools import lru_cache
from typing import Final

_GATHER: Final = 32768  # bytes
_LONGEST: Final = 1.0  # seconds that a line waits while others follow it
_MODE: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class LogError(ValueError):
    """A log cannot be written; the message names the file and the remedy."""


class LogFile:
    """A descriptor that a path, or a standard stream ("-"), or nothing ("off") stands behind.

    `standard` is the descriptor of that stream. LogError when the path cannot be opened.
    """

    def __init__(self, target: str, standard: int) -> None:
        self._target = target
        self._standard = standard
        self._fd = -1
        self.reopen()

    def reopen(self) -> None:
        """Open the path again: what a log rotation asks for. LogError when it cannot be."""
        if self._target == "off":
            return
        if self._target == "-":
            self._fd = self._standard
            return
        try:
            fresh = os.open(self._target, _MODE, 0o644)
        except OSError as error:
            raise LogError(
                f"log: {self._target}: {error.strerror}; name a file that can be written"
            ) from None
        self.close()
        self._fd = fresh

    def write(self, data: bytes) -> None:
        """Append `data`; a full disk or a closed pipe loses lines, never requests."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self._fd, data)

    def close(self) -> None:
        """Close it, unless it is the standard one."""
        if self._fd >= 0 and self._target != "-":
            os.close(self._fd)
        self._fd = -1


class GatheredLog:
    """Lines on their way to a file. Times are monotonic seconds, told by the caller."""

    def __init__(self, target: str, standard: int) -> None:
        self._file = LogFile(target, standard)
        self._lines: list[str] = []
        self._size = 0
        self._since = 0.0  # when the oldest line that waits came

    def add(self, line: str, now: float) -> None:
        """Take a line, its newline included."""
        if not self._lines:
            self._since = now
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _GATHER or now - self._since >= _LONGEST:
            self.flush()

    def flush_when_due(self, now: float) -> None:
        """Write what has waited for a second."""
        if self._lines and now - self._since >= _LONGEST:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._lines:
            lines, self._lines, self._size = self._lines, [], 0
            self._file.write("".join(lines).encode("utf-8", "replace"))

    def reopen(self) -> None:
        """Write what waits, then open the path again; LogError."""
        self.flush()
        self._file.reopen()

    def close(self) -> None:
        """Write what waits and close."""
        self.flush()
        self._file.close()


@lru_cache(1024)
def quote(text: str) -> str:
    """Return `text`, which comes again and again, as a JSON string."""
    return json.dumps(text)


def quote_id(text: str) -> str:
    """Return an id, which never comes again, as a JSON string."""
    return f'"{text}"' if text.isalnum() and text.isascii() else json.dumps(text)


def format_time(seconds: float) -> str:
    """Return seconds since the epoch with six decimals; a float's own way takes thrice as long."""
    whole, rest = divmod(int(seconds * 1e6), 1_000_000)
    return f"{whole}.{rest:06}"
