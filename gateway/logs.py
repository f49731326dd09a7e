"""The access log and the error log.

The parts of a line that depend only on the request head (request line, referer, user agent) are
formatted once and cached with the head, as text and as JSON.
"""

import json
import os
import sys
import time

from chainlab.transport.logfile import GatheredLog, LogFile
from chainlab.wire.http1 import RequestHead
from gateway.config import Log
from gateway.loop import Loop


class AccessLog:
    """Writes one line per request, answered or aborted."""

    def __init__(self, settings: Log, loop: Loop) -> None:
        self._loop = loop
        self._log = GatheredLog(settings.access, sys.__stdout__.fileno() if sys.__stdout__ else 1)
        self.enabled = settings.access != "off"
        self.json = settings.format == "json"

    def combined(self, remote: str, head: "LogHead", status: int, size: int) -> None:
        """Log a request in the combined log format."""
        stamp = self._loop.log_time
        line = f"{remote} - - [{stamp}] {head.before} {status} {size} {head.after}\n"
        self._log.add(line, self._loop.now)

    def record(self, remote: str, head: "LogHead", status: int, size: int, more: str = "") -> None:
        """Log a request as one line of JSON; `more` holds encoded members to append."""
        self._log.add(
            f'{{"time": "{self._loop.log_time}", "remote": "{remote}", {head.members}, '
            f'"status": {status}, "bytes": {size}{more}}}\n',
            self._loop.now,
        )

    def flush_when_due(self) -> None:
        """Write lines that have been buffered for more than a second."""
        self._log.flush_when_due(self._loop.now)

    def reopen(self) -> None:
        """Write buffered lines, then reopen the file."""
        self._log.reopen()

    def close(self) -> None:
        """Write buffered lines and close the file."""
        self._log.close()


class LogHead:
    """The parts of an access-log line that depend only on the request head, escaped."""

    __slots__ = ("_head", "_members", "after", "before")

    def __init__(self, head: RequestHead | None) -> None:
        self._head = head
        self._members = ""
        if head is None:  # the request could not be parsed
            self.before, self.after = '"-"', '"-" "-"'
            return
        self.before = f'"{_escape(request_line(head))}"'
        referer = _escape((head.get(b"referer") or b"-").decode("latin-1"))
        agent = _escape((head.get(b"user-agent") or b"-").decode("latin-1"))
        self.after = f'"{referer}" "{agent}"'

    @property
    def members(self) -> str:
        """The head's members in a JSON line, encoded on first use."""
        if not self._members:
            head = self._head
            values = {
                "request": request_line(head) if head else "",
                "referer": (head.get(b"referer") or b"").decode("latin-1") if head else "",
                "agent": (head.get(b"user-agent") or b"").decode("latin-1") if head else "",
            }
            self._members = json.dumps(values)[1:-1]
        return self._members


def request_line(head: RequestHead) -> str:
    """Return the request line as the client sent it."""
    return f"{head.method.decode()} {head.target.decode()} HTTP/1.{head.minor}"


def _escape(text: str) -> str:
    """Escape quotes, backslashes and control characters, so that no client can forge a line."""
    if text.isprintable() and text.isascii() and '"' not in text and "\\" not in text:
        return text
    return "".join(
        c if c.isprintable() and c.isascii() and c not in '"\\' else f"\\x{ord(c):02x}"
        for c in text
    )


class ErrorLog:
    """Writes one line per problem: time, level, process id, message."""

    def __init__(self, target: str) -> None:
        self._file = LogFile(target, sys.__stderr__.fileno() if sys.__stderr__ else 2)

    def error(self, message: str) -> None:
        """Log a failed request or an unexpected error."""
        self._write("error", message)

    def warn(self, message: str) -> None:
        """Log a problem that did not fail a request."""
        self._write("warn", message)

    def info(self, message: str) -> None:
        """Log an event of interest to the operator."""
        self._write("info", message)

    def _write(self, level: str, message: str) -> None:
        stamp = time.strftime("%Y/%m/%d %H:%M:%S")
        text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in message)
        self._file.write(f"{stamp} [{level}] {os.getpid()}: {text}\n".encode("utf-8", "replace"))

    def reopen(self) -> None:
        """Reopen the file."""
        self._file.reopen()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
