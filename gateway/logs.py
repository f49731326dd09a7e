"""The access log and the error log, as files that can be moved and reopened (SIGUSR1).

Access lines are gathered and written 32 KiB at a time, at least once per second: one system call
for some three hundred requests. Each write is one call in append mode, so several processes
share a file without mixing their lines. What does not change between two requests with the same
head (the request line, referer, user agent) is made once and kept with the head.
"""

import contextlib
import json
import os
import sys
import time
from typing import Final

from gateway.config import ConfigError, Log
from gateway.loop import Loop
from wire.http1 import RequestHead

_GATHER: Final = 32768  # bytes
_MODE: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class LogFile:
    """A descriptor that a path, stdout or stderr stands behind."""

    def __init__(self, target: str, standard: int) -> None:
        self._target = target
        self._standard = standard
        self._fd = -1
        self.reopen()

    def reopen(self) -> None:
        """Open the path again: what a log rotation asks for. ConfigError when it cannot be."""
        if self._target == "off":
            return
        if self._target == "-":
            self._fd = self._standard
            return
        try:
            fresh = os.open(self._target, _MODE, 0o644)
        except OSError as error:
            raise ConfigError(
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


class AccessLog:
    """One line for each request that got an answer, or would have."""

    def __init__(self, settings: Log, loop: Loop) -> None:
        self._loop = loop
        self._file = LogFile(settings.access, sys.__stdout__.fileno() if sys.__stdout__ else 1)
        self.enabled = settings.access != "off"
        self.json = settings.format == "json"
        self._lines: list[str] = []
        self._size = 0
        self._due = loop.now + 1.0

    def combined(self, remote: str, head: "LogHead", status: int, size: int) -> None:
        """Log a request in the format that every log analyser reads."""
        self._add(
            f"{remote} - - [{self._loop.log_time}] {head.before} {status} {size} {head.after}\n"
        )

    def record(self, **values: object) -> None:
        """Log a request as a JSON object in one line."""
        self._add(json.dumps({"time": self._loop.log_time, **values}) + "\n")

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _GATHER:
            self.flush()

    def flush_when_due(self) -> None:
        """Write what waits for longer than a second."""
        if self._loop.now >= self._due:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._due = self._loop.now + 1.0
        if self._lines:
            self._file.write("".join(self._lines).encode("utf-8", "replace"))
            self._lines.clear()
            self._size = 0

    def reopen(self) -> None:
        """Write what waits, then open the path again."""
        self.flush()
        self._file.reopen()

    def close(self) -> None:
        """Write what waits and close."""
        self.flush()
        self._file.close()


class LogHead:
    """The parts of an access line that follow from a request's head, escaped."""

    __slots__ = ("after", "before")

    def __init__(self, head: RequestHead | None) -> None:
        if head is None:  # a request that could not be read
            self.before, self.after = '"-"', '"-" "-"'
            return
        self.before = f'"{_escape(request_line(head))}"'
        referer = _escape((head.get(b"referer") or b"-").decode("latin-1"))
        agent = _escape((head.get(b"user-agent") or b"-").decode("latin-1"))
        self.after = f'"{referer}" "{agent}"'


def request_line(head: RequestHead) -> str:
    """Return the request line as it came."""
    return f"{head.method.decode()} {head.target.decode()} HTTP/1.{head.minor}"


def _escape(text: str) -> str:
    """Leave no quote, backslash or control character that could forge another line."""
    if text.isprintable() and text.isascii() and '"' not in text and "\\" not in text:
        return text
    return "".join(
        c if c.isprintable() and c.isascii() and c not in '"\\' else f"\\x{ord(c):02x}"
        for c in text
    )


class ErrorLog:
    """One line for each thing that went wrong: time, level, process, what."""

    def __init__(self, target: str) -> None:
        self._file = LogFile(target, sys.__stderr__.fileno() if sys.__stderr__ else 2)

    def error(self, message: str) -> None:
        """A request failed, or something that should not have happened did."""
        self._write("error", message)

    def warn(self, message: str) -> None:
        """Something is wrong; requests go on."""
        self._write("warn", message)

    def info(self, message: str) -> None:
        """The operator asked for this, or may want to know it."""
        self._write("info", message)

    def _write(self, level: str, message: str) -> None:
        stamp = time.strftime("%Y/%m/%d %H:%M:%S")
        text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in message)
        self._file.write(f"{stamp} [{level}] {os.getpid()}: {text}\n".encode("utf-8", "replace"))

    def reopen(self) -> None:
        """Open the path again."""
        self._file.reopen()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
