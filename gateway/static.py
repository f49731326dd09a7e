"""Serves files from a folder with sendfile(2): the kernel copies, the process never sees a byte.

A request cannot escape this folder. Dot segments are resolved before the file is opened, and the
kernel then reports the opened file's real path (/proc/self/fd). A symbolic link that leads outside,
even one swapped in between, answers 404 like a missing file. `conditions` decides about conditional
requests and ranges.
"""

import errno
import mimetypes
import os
import stat
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chainlab.wire.http1 import RequestHead, ResponseHead
from gateway.client import Client
from gateway.conditions import choose_part, judge
from gateway.params import SOFTWARE, RequestPlan

if TYPE_CHECKING:
    from gateway.process import Process

_TURN: Final = 1 << 20  # bytes sent before other connections get their turn
_LATEST: Final = 253402300799  # seconds since the epoch: the end of the year 9999
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


_MISSING: Final = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EINVAL)
)
"""Errors of open(2) that say that the path names no file; EMFILE or EIO, for example, do not."""


class File:
    """An open regular file and its header values; raises OSError if it cannot be served.

    It owns its descriptor: only `close` closes it, and only once.
    """

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
            self.close()
            raise
        self.size = status.st_size
        self.modified = min(max(int(status.st_mtime), 0), _LATEST)
        self.etag = b'"%x-%x"' % (status.st_mtime_ns, self.size)
        kind, encoding = mimetypes.guess_type(path.name)
        self.type = (kind if kind and not encoding else "application/octet-stream").encode()

    def close(self) -> None:
        """Close the file, unless it is closed already."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class FileExchange:
    """A response from an open file."""

    def __init__(self, process: "Process", client: Client, head: RequestHead, file: File) -> None:
        self._process = process
        self._client = client
        self._file = file
        self._at = 0
        self._end = file.size
        self.head = head
        self.body_full = False

    def begin(self) -> None:
        """Send the head that the conditions and range call for, then the file."""
        file, head = self._file, self.head
        fields = [
            (b"Server", SOFTWARE),
            (b"Last-Modified", formatdate(file.modified, usegmt=True).encode()),
            (b"ETag", file.etag),
            (b"Accept-Ranges", b"bytes"),
        ]
        status = judge(head, file.etag, file.modified)
        if status == 304:
            self._respond(ResponseHead(304, fields))
            return
        if status == 412:
            self._respond(ResponseHead(412, [*fields, (b"Content-Length", b"0")]))
            return
        part = choose_part(head, file.etag, file.modified, file.size)
        if part.status == 416:
            unmet = (b"Content-Range", b"bytes */%d" % file.size)
            self._respond(ResponseHead(416, [*fields, unmet, (b"Content-Length", b"0")]))
            return
        self._at, self._end = part.first, part.end
        length = self._end - self._at
        fields += [(b"Content-Type", file.type), (b"Content-Length", b"%d" % length)]
        if part.status == 206:
            value = b"bytes %d-%d/%d" % (self._at, self._end - 1, file.size)
            fields.append((b"Content-Range", value))
        self._respond(ResponseHead(part.status, fields), content=length > 0)

    def _respond(self, head: ResponseHead, *, content: bool = False) -> None:
        client = self._client
        if self._process.leaving:
            client.http.keep_alive = False
        self._status = head.status
        self._first = self._at
        if not content or self.head.method == b"HEAD":
            self._end = self._at
        extra = b"Date: %b\r\n" % self._process.loop.date
        client.send(client.http.send_response(head, extra))
        self.on_drained()

    def on_drained(self) -> None:
        """Send what the socket accepts, up to one turn."""
        client = self._client
        turn = min(self._end, self._at + _TURN)
        while self._at < turn and client.exchange is self:
            sent = client.sendfile(self._file.fd, self._at, turn - self._at)
            if sent is None:
                break
            if not sent:
                self._cut("the file was truncated while being sent")
                return
            self._at += sent
            client.http.sent_by_caller(sent)
        if client.exchange is not self:
            return
        if self._at < self._end:
            client.wait_until_writable()
        else:
            self._finish()

    def _finish(self) -> None:
        self._file.close()
        client = self._client
        client.http.end()  # nothing to send: the content has a length
        self._process.log_own(client, self.head, self._status, self._at - self._first)
        client.on_answered()

    def _cut(self, why: str) -> None:
        self._process.error_log.error(f"static: {self.head.target.decode()}: {why}")
        self._client.exchange = None
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
            self._process.log_own(self._client, self.head, self._status, self._at - self._first)


class StaticRoute:
    """Serves the files of `root` under the paths that begin with `prefix`."""

    def __init__(self, process: "Process", prefix: str, root: Path) -> None:
        self._process = process
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
        except ValueError:  # a NUL in the path
            client.refuse(404, head)
            return
        except OSError as error:
            self._refuse(client, head, error)
            return
        client.exchange = exchange = FileExchange(self._process, client, head, file)
        exchange.begin()

    def _refuse(self, client: Client, head: RequestHead, error: OSError) -> None:
        """Answer 404 for what is no file, 503 if the machine could not open it."""
        if error.errno in _MISSING or isinstance(error, FileNotFoundError):
            client.refuse(404, head)
            return
        self._process.error_log.error(f"static: {head.target.decode()}: {error.strerror}")
        client.refuse(503, head)

    def _open(self, path: str) -> File:
        """Open `path` under the root; raise IsADirectoryError for a folder without a slash."""
        if not path or path.endswith("/"):
            path += "index.html"
        return File(self._root / path, self._root)
