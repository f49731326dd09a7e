"""Request timing: a Server-Timing field in the response and a JSON line in the access log.

    Server-Timing: worker-wait;dur=0.041, worker-app;dur=0.112

worker-wait  from when the web server sent the request until the application is called
worker-app   from the call until the head is sent; in the log, until the end of the response

Both are in milliseconds. The web server must send its time in X-Request-Start, as our gateway does,
and nginx with `fastcgi_param HTTP_X_REQUEST_START "t=${msec}"` (whole milliseconds). Without that
field there is no worker-wait: the kernel does not record when a waiting request arrived.

Server-Timing is last in the head, so that a web server can cache the rest. If neither timing nor
the log is enabled, the child uses plain exchanges, at no cost.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from functools import lru_cache, partial
from os import getpid
from typing import Final

from chainlab.transport.logfile import (
    PIPE_BUF,
    GatheredLog,
    LogError,
    format_time,
    quote_id,
    standard_descriptor,
)
from chainlab.wire.fastcgi import Request, ServerConnection
from chainlab.wire.trace_context import parse_traceparent
from fcgi_worker.log import log
from fcgi_worker.settings import Settings
from fcgi_worker.wsgi import Exchange

_START: Final = re.compile(r"t=(?:([0-9]{16})|([0-9]{10}\.[0-9]{3}))")
"""Microseconds, as from Apache and our gateway, or seconds, as from nginx."""

_OUR_TRACEPARENT: Final = re.compile(r"00-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-0([01])")
"""The common form; matching it takes a third of the time of parse_traceparent."""

_LINE: Final = (
    '{"time": "%s", "start": %s, "id": %s, %s, "status": %d, "bytes": %d, '
    '"milliseconds": {"wait": %s, "application": %.3f}, "pid": %d, "cut": %s%s}\n'
)
_DESCRIPTION: Final = ("REMOTE_ADDR", "REQUEST_METHOD", "REQUEST_URI")
_SHORT: Final = PIPE_BUF // 32  # characters per part of a line that is too long for a pipe
_STATUS: Final = slice(len(b"Status: "), len(b"Status: 200"))


class AccessLog:
    """The access log of one process; each child has its own descriptor of the same file."""

    def __init__(self, target: str) -> None:
        self.enabled = target != "off"
        self._target = target
        self._log = GatheredLog(target, standard_descriptor(sys.__stdout__))
        self._stale = False

    def renew(self) -> None:
        """Call this in a new process: a standard stream needs a pipe of its own."""
        if self._target == "-":
            self._log.file.abandon()
            self._log.file.reopen()

    @property
    def longest(self) -> int:
        """Maximum bytes of a line that stays in one piece."""
        return self._log.file.longest

    def add(self, line: str) -> None:
        """Buffer a line, which ends in a newline."""
        if self._stale:
            self.reopen()
        self._log.add(line, time.monotonic())

    def reopen_soon(self) -> None:
        """Reopen before the next line; safe to call from a signal handler."""
        self._stale = True

    def reopen(self) -> None:
        """Write buffered lines and reopen the file; keep the old one if that fails."""
        self._stale = False
        try:
            self._log.reopen()
        except LogError as error:
            log.error("%s", error)

    def flush(self) -> None:
        """Write the buffered lines; reopen the file first if requested."""
        if self._stale:
            self.reopen()
        self._log.flush()
        self._log.file.flush()
        if self._log.file.lost:
            log.error("access log: %s", self._log.file.take_lost())

    def drain(self, seconds: float) -> None:
        """Write everything; give a slow reader up to `seconds`."""
        self.flush()
        self._log.file.drain(seconds)


def choose_exchange(settings: Settings, access_log: AccessLog) -> Callable[..., Exchange]:
    """Return the exchange class: a timed one only if timing or the access log is enabled."""
    if settings.server_timing or access_log.enabled:
        return partial(TimedExchange, access_log=access_log)
    return Exchange


class TimedExchange(Exchange):
    """An exchange that measures its wait and the application's run time."""

    __slots__ = ("_access_log", "_called_at", "_called_wall", "_failed", "_wait")

    def __init__(
        self,
        descriptor: int,
        connection: ServerConnection,
        request: Request,
        settings: Settings,
        *,
        access_log: AccessLog,
    ) -> None:
        super().__init__(descriptor, connection, request, settings)
        self._access_log = access_log
        self._failed = 0  # the status of a response that the worker made itself
        self._called_wall = time.time()
        self._called_at = time.monotonic()
        self._wait = read_wait(request.params.get("HTTP_X_REQUEST_START"), self._called_wall)

    def end(self) -> None:
        """Log the request."""
        super().end()
        if self._access_log.enabled:
            self._log()

    def _head_due(self, length: int | None = None) -> bytes:
        head = super()._head_due(length)
        return self._complete_head(head) if head else head

    def _complete_head(self, head: bytes) -> bytes:
        if not self._settings.server_timing:
            return head
        milliseconds = (time.monotonic() - self._called_at) * 1000
        if self._wait is None:
            return b"%bServer-Timing: worker-app;dur=%.3f\r\n\r\n" % (head[:-2], milliseconds)
        return b"%bServer-Timing: worker-wait;dur=%.3f, worker-app;dur=%.3f\r\n\r\n" % (
            head[:-2],
            self._wait * 1000,
            milliseconds,
        )

    def _answer(self, answer: tuple[bytes, bytes], errors: bytes) -> None:
        self._failed = int(answer[0][_STATUS])
        super()._answer(answer, errors)

    def _log(self) -> None:
        """Add the line of this request to the access log."""
        params = self._request.params.get
        head, status, size = self._head, 0, 0
        if self._failed:
            status = self._failed
        elif self._head_sent and head is not None:
            status = int(head.encoded[_STATUS])
            size = self._sent if self._wants_body and head.has_body else 0
        identity = params("HTTP_X_REQUEST_ID", "")
        remote, method, uri = (params(name, "") for name in _DESCRIPTION)
        trace = _trace_members(params("HTTP_TRACEPARENT"))
        line = self._line(identity, _request_members(remote, method, uri), status, size, trace)
        if len(line) > self._access_log.longest:  # it would not stay in one piece
            members = json.dumps(
                {"remote": _cut(remote), "method": _cut(method), "path": _cut(uri)}
            )[1:-1]
            line = self._line(_cut(identity), members, status, size, trace)
        self._access_log.add(line)

    def _line(self, identity: str, members: str, status: int, size: int, trace: str) -> str:
        return _LINE % (
            _local(int(self._called_wall)),
            format_time(self._called_wall),
            quote_id(identity),
            members,
            status,
            size,
            "null" if self._wait is None else "%.3f" % (self._wait * 1000),
            (time.monotonic() - self._called_at) * 1000,
            getpid(),
            "true" if self.cut else "false",
            trace,
        )


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else text[:_SHORT] + "..."


def read_wait(start: str | None, now: float) -> float | None:
    """Return the seconds from `start`, an X-Request-Start value, to `now`; None if invalid.

    Never negative, although nginx sends whole milliseconds and another machine's clock may be
    ahead.
    """
    match = _START.fullmatch(start) if start else None
    if match is None:
        return None
    microseconds, seconds = match.groups()
    sent = int(microseconds) / 1e6 if microseconds else float(seconds)
    return max(now - sent, 0.0)


@lru_cache(1024)
def _request_members(remote: str, method: str, uri: str) -> str:
    """Return the members of a log line that describe the request."""
    return json.dumps({"remote": remote, "method": method, "path": uri})[1:-1]


def _trace_members(traceparent: str | None) -> str:
    """Return the members of a log line that describe the trace; empty without a valid one."""
    if traceparent is None:
        return ""
    usual = _OUR_TRACEPARENT.fullmatch(traceparent)
    if usual is not None:
        trace_id, parent_id, sampled = usual[1], usual[2], usual[3] == "1"
    else:
        trace = parse_traceparent(traceparent.encode("latin-1"))
        if trace is None:
            return ""
        trace_id, parent_id, sampled = trace[0].decode(), trace[1].decode(), trace[2]
    flag = "true" if sampled else "false"
    return f', "trace": "{trace_id}", "parent": "{parent_id}", "sampled": {flag}'


@lru_cache(4)
def _local(second: int) -> str:
    """Return the local time in the format of the common log format."""
    return time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second))
