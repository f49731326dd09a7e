"""Serves files from a folder with sendfile(2): the kernel copies, the process never sees a byte.

A request cannot escape this folder. Dot segments are resolved before the file is opened, and the
kernel then reports the opened file's real path (/proc/self/fd). A symbolic link that leads outside,
even one swapped in between, answers 404 like a missing file. Conditional requests and ranges
follow RFC 9110 sections 13 and 14; a request for several ranges gets the whole file.
"""

import mimetypes
import os
import re
import stat
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import Final

from chainlab.wire.http1 import RequestHead, ResponseHead
from gateway.client import Client, Exchange
from gateway.params import SOFTWARE, RequestPlan
from gateway.services import Services

_TURN: Final = 1 << 20  # bytes sent before other connections get their turn
_RANGE: Final = re.compile(rb"bytes=([0-9]{0,18})-([0-9]{0,18})")
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class File:
    """An open regular file and its header values; raises OSError if it cannot be served."""

    def __init__(self, path: Path, root: Path) -> None:
        self.fd = os.open(path, _OPEN)
        try:
            status = os.fstat(self.fd)
            inside = Path(f"/proc/self/fd/{self.fd}").readlink()
            if not inside.is_relative_to(root):
                raise FileNotFoundError
            if not stat.S_ISREG(status.st_mode):
                raise IsADirectoryError if stat.S_ISDIR(status.st_mode) else FileNotFoundError
        except OSError:
            os.close(self.fd)
            raise
        self.size = status.st_size
        self.modified = int(status.st_mtime)
        self.etag = b'"%x-%x"' % (status.st_mtime_ns, self.size)
        kind, encoding = mimetypes.guess_type(path.name)
        self.type = (kind if kind and not encoding else "application/octet-stream").encode()

    def close(self) -> None:
        """Close the descriptor, once: its number may soon be another file's."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class FileExchange(Exchange):
    """A response from an open file."""

    def __init__(self, services: Services, client: Client, head: RequestHead, file: File) -> None:
        self._services = services
        self._client = client
        self._file = file
        self._at = 0
        self._end = file.size
        self.head = head

    @property
    def body_full(self) -> bool:
        """False: the body is ignored."""
        return False

    def begin(self) -> None:
        """Send the head that the conditions and range call for, then the file."""
        file, head = self._file, self.head
        fields = [
            (b"Server", SOFTWARE),
            (b"Last-Modified", formatdate(file.modified, usegmt=True).encode()),
            (b"ETag", file.etag),
            (b"Accept-Ranges", b"bytes"),
        ]
        if is_fresh(head, file.etag, file.modified):
            self._respond(ResponseHead(304, fields))
            return
        chosen = choose_range(head, file.etag, file.modified, file.size)
        if chosen is None:
            unmet = (b"Content-Range", b"bytes */%d" % file.size)
            self._respond(ResponseHead(416, [*fields, unmet, (b"Content-Length", b"0")]))
            return
        self._at, self._end = chosen
        length = self._end - self._at
        fields += [(b"Content-Type", file.type), (b"Content-Length", b"%d" % length)]
        partial = length != file.size
        if partial:
            value = b"bytes %d-%d/%d" % (self._at, self._end - 1, file.size)
            fields.append((b"Content-Range", value))
        self._respond(ResponseHead(206 if partial else 200, fields), content=length > 0)

    def _respond(self, head: ResponseHead, *, content: bool = False) -> None:
        client = self._client
        if self._services.leaving:
            client.http.keep_alive = False
        self._status = head.status
        self._first = self._at
        if not content or self.head.method == b"HEAD":
            self._end = self._at
        extra = b"Date: %b\r\n" % self._services.loop.date
        client.send(client.http.send_response(head, extra))
        self.on_drained()

    def on_drained(self) -> None:
        """Send what the socket accepts, up to one turn."""
        client = self._client
        turn = min(self._end, self._at + _TURN)
        while self._at < turn:
            sent = client.sendfile(self._file.fd, self._at, turn - self._at)
            if sent is None:
                break
            if not sent:
                self._cut("the file was truncated while being sent")
                return
            self._at += sent
            client.http.sent_by_caller(sent)
        if self._at < self._end:
            client.wait_until_writable()
        else:
            self._finish()

    def _finish(self) -> None:
        self._file.close()
        self._client.log(self.head, self._status, self._at - self._first)
        self._client.end_response()

    def _cut(self, why: str) -> None:
        self._services.error_log.error(f"static: {self.head.target.decode()}: {why}")
        self.abandon(self._status)
        self._client.cut()

    def on_body(self, data: bytes) -> None:
        """Ignore the body: it has no meaning in a GET."""

    def on_body_end(self) -> None:
        """Do nothing: the response does not depend on the request body."""

    def on_input_pause(self) -> None:
        """Do nothing: the body is ignored."""

    def abandon(self, status: int) -> None:
        """Close the file; the client is gone."""
        self._file.close()
        if status:
            self._client.log(self.head, self._status, self._at - self._first)


class StaticRoute:
    """Serves the files of `root` under the paths that begin with `prefix`."""

    def __init__(self, services: Services, prefix: str, root: Path) -> None:
        self._services = services
        self._prefix = prefix
        self._root = root

    def begin(self, client: Client, head: RequestHead, plan: RequestPlan) -> None:
        """Answer with a file, a redirect or an error."""
        if head.method not in (b"GET", b"HEAD"):
            client.answer(405, b"405 Method Not Allowed\n", head, (b"Allow", b"GET, HEAD"))
            return
        path = plan.path.removeprefix(self._prefix).lstrip("/")
        try:
            file = self._open(path)
        except IsADirectoryError:
            target = head.path + b"/" + (b"?" + head.query if head.query else b"")
            client.answer(301, b"", head, (b"Location", b"/" + target.lstrip(b"/")))
            return
        except PermissionError:
            client.refuse(403, head)
            return
        except (OSError, ValueError):  # ValueError: a NUL in the path
            client.refuse(404, head)
            return
        client.exchange = exchange = FileExchange(self._services, client, head, file)
        exchange.begin()

    def _open(self, path: str) -> File:
        """Open `path` under the root; raise IsADirectoryError for a folder without a slash."""
        if not path or path.endswith("/"):
            path += "index.html"
        return File(self._root / path, self._root)


def is_fresh(head: RequestHead, etag: bytes, modified: int) -> bool:
    """Return True if the client already has this version (RFC 9110 sections 13.1.2, 13.1.3)."""
    known = head.get(b"if-none-match")
    if known is not None:
        tags = [tag.strip().removeprefix(b"W/") for tag in known.split(b",")]
        return b"*" in tags or etag in tags
    since = read_date(head.get(b"if-modified-since"))
    return since is not None and modified <= since


def choose_range(
    head: RequestHead, etag: bytes, modified: int, size: int
) -> tuple[int, int] | None:
    """Return the (first, end) bytes to send; None if the range is unsatisfiable (416)."""
    whole = (0, size)
    asked = _RANGE.fullmatch(head.get(b"range") or b"")
    if not asked or head.method != b"GET" or asked[1] == asked[2] == b"":
        return whole
    condition = head.get(b"if-range")
    if condition is not None and condition != etag and read_date(condition) != modified:
        return whole
    if not asked[1]:
        count = int(asked[2])
        return (max(0, size - count), size) if count and size else None
    first = int(asked[1])
    last = int(asked[2]) if asked[2] else size - 1
    if last < first and asked[2]:
        return whole  # ignore an invalid range (RFC 9110 section 14.2)
    return (first, min(last, size - 1) + 1) if first < size else None


def read_date(value: bytes | None) -> int | None:
    """Return an HTTP date as seconds since the epoch; None if it is missing or invalid."""
    if value is None:
        return None
    try:
        return int(parsedate_to_datetime(value.decode("latin-1")).timestamp())
    except (ValueError, OverflowError):
        return None
