"""The access log and the error log.

The parts of a line that depend only on the request head (request line, referer, user agent) are
formatted once and cached with the head, as text and as JSON. Neither log blocks the loop
(`chainlab.transport.logfile`); lines lost to a full disk or a stalled reader are counted, and the
error log reports the number.
"""

import json
import os
import sys
import time
from typing import Final

from chainlab.transport.logfile import PIPE_BUF, GatheredLog, LogError, LogFile, standard_descriptor
from chainlab.wire.http1 import RequestHead
from gateway.config import LEVELS, Log
from gateway.loop import Loop

_REPORT: Final = 10.0  # seconds between two reports of lost lines while the loss goes on
_SHORT: Final = PIPE_BUF // 16  # characters per part of a line that is too long for a pipe
_ERROR_LINE: Final = 3800  # maximum bytes of a message, so that its line fits into PIPE_BUF


def open_logs(settings: Log, loop: Loop) -> tuple["AccessLog", "ErrorLog"]:
    """Open both logs; LogError if one of them cannot be opened."""
    errors = ErrorLog(settings)
    try:
        return AccessLog(settings, loop, errors), errors
    except LogError:
        errors.close()
        raise


class AccessLog:
    """Writes one line per request, answered or aborted."""

    def __init__(self, settings: Log, loop: Loop, errors: "ErrorLog") -> None:
        self._loop = loop
        self._errors = errors
        self._log = GatheredLog(settings.access, standard_descriptor(sys.__stdout__))
        self._longest = self._log.file.longest
        self._reported_at = -_REPORT
        self.enabled = settings.access != "off"
        self.json = settings.format == "json"

    def combined(self, remote: str, head: "LogHead", status: int, size: int) -> None:
        """Log a request in the combined log format; `remote` is used if the head has none."""
        stamp = self._loop.log_time
        line = f"{head.remote or remote} - - [{stamp}] {head.before} {status} {size} {head.after}\n"
        if len(line) > self._longest and not head.short:
            self.combined(remote, head.shortened(), status, size)
        else:
            self._log.add(line, self._loop.now)

    def record(self, remote: str, head: "LogHead", status: int, size: int, more: str = "") -> None:
        """Log a request as one line of JSON; `more` holds encoded members to append."""
        line = (
            f'{{"time": "{self._loop.log_time}", "remote": "{head.remote or remote}", '
            f'{head.members}, "status": {status}, "bytes": {size}{more}}}\n'
        )
        if len(line) > self._longest and not head.short:
            self.record(remote, head.shortened(), status, size, more)
        else:
            self._log.add(line, self._loop.now)

    def flush_when_due(self) -> None:
        """Write lines that have been buffered for more than a second; report lost ones."""
        now = self._loop.now
        self._log.flush_when_due(now)
        file = self._log.file
        if file.lost and (not file.waiting or now - self._reported_at >= _REPORT):
            self._reported_at = now
            self._errors.error(f"access log: {file.take_lost()}")
        self._errors.flush()

    def reopen(self) -> None:
        """Write buffered lines, then reopen the file."""
        self._log.reopen()
        self._longest = self._log.file.longest

    def close(self, patience: float = 0.0) -> None:
        """Write buffered lines and close the file; wait up to `patience` seconds for readers."""
        self._log.flush()
        self._log.file.drain(patience)
        self._log.close()
        if self._log.file.lost:
            self._errors.error(f"access log: {self._log.file.take_lost()}")
        self._errors.drain(patience)


class LogHead:
    """The parts of an access-log line that depend only on the request head, escaped."""

    __slots__ = ("_head", "_members", "after", "before", "remote", "short")

    def __init__(self, head: RequestHead | None, remote: str = "", *, short: bool = False) -> None:
        self._head = head
        self.remote = remote  # the client's address, which a trusted front end may have reported
        self._members = ""
        self.short = short
        if head is None:  # the request could not be parsed
            self.before, self.after = '"-"', '"-" "-"'
            return
        line, referer, agent = self._parts(head)
        self.before = f'"{_escape(line)}"'
        self.after = f'"{_escape(referer or "-")}" "{_escape(agent or "-")}"'

    def _parts(self, head: RequestHead) -> tuple[str, str, str]:
        line = request_line(head)
        referer = (head.get(b"referer") or b"").decode("latin-1")
        agent = (head.get(b"user-agent") or b"").decode("latin-1")
        if self.short:
            return _cut(line), _cut(referer), _cut(agent)
        return line, referer, agent

    def shortened(self) -> "LogHead":
        """Return the same with long parts cut, for a line that does not fit into PIPE_BUF."""
        return LogHead(self._head, self.remote, short=True)

    @property
    def members(self) -> str:
        """The head's members in a JSON line, encoded on first use."""
        if not self._members:
            parts = self._parts(self._head) if self._head else ("", "", "")
            self._members = json.dumps(dict(zip(_MEMBERS, parts, strict=True)))[1:-1]
        return self._members


_MEMBERS: Final = ("request", "referer", "agent")


def _cut(text: str) -> str:
    return f"{text[:_SHORT]}..." if len(text) > _SHORT else text


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

    def __init__(self, settings: Log) -> None:
        self._file = LogFile(settings.error, standard_descriptor(sys.__stderr__))
        self._level = LEVELS.index(settings.level)

    def error(self, message: str) -> None:
        """Log a failed request or an unexpected error."""
        self._write("error", message)

    def warn(self, message: str) -> None:
        """Log a problem that did not fail a request."""
        if self._level >= 1:
            self._write("warn", message)

    def info(self, message: str) -> None:
        """Log an event of interest to the operator."""
        if self._level >= 2:
            self._write("info", message)

    def _write(self, level: str, message: str) -> None:
        self.flush()
        self._file.write(_error_line(level, message))

    def flush(self) -> None:
        """Write lines that had to wait, then report lost ones."""
        if self._file.flush() and self._file.lost:
            self._file.write(_error_line("error", f"error log: {self._file.take_lost()}"))

    def reopen(self) -> None:
        """Reopen the file."""
        self._file.reopen()

    def drain(self, patience: float) -> None:
        """Write lines that had to wait; wait up to `patience` seconds for a slow reader."""
        self._file.drain(patience)
        self.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def abandon(self) -> None:
        """Close the file of a parent process, after fork."""
        self._file.abandon()


def _error_line(level: str, message: str) -> bytes:
    if not message.isprintable():
        message = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in message)
    if len(data := message.encode("utf-8", "replace")) > _ERROR_LINE:
        cut = data[:_ERROR_LINE].decode("utf-8", "ignore")
        message = f"{cut}... ({len(data)} bytes)"
    line = f"{time.strftime('%Y/%m/%d %H:%M:%S')} [{level}] {os.getpid()}: {message}\n"
    return line.encode("utf-8", "replace")
