"""One request through a WSGI application (PEP 3333), as FastCGI records.

The response leaves in as few writes as possible. A list of byte strings goes out with its head, its
length and END_REQUEST in one system call. Anything else is streamed, each piece as it is yielded,
because PEP 3333 forbids delaying a piece.

If the application raises before its head is sent, the client gets a 500. After that, the worker
closes the connection without END_REQUEST, so that no web server mistakes the partial response for a
complete one. In both cases the traceback goes to the log and, as STDERR records, to the web
server's error log.
"""

import functools
import io
import logging
import os
import re
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Final
from wsgiref.util import FileWrapper

from chainlab.wire.fastcgi import NEED_DATA, Abort, Request, ServerConnection, Stdin
from fcgi_worker.peer import READ_SIZE, PeerGone, read_some, write_all
from fcgi_worker.settings import Settings

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = logging.getLogger("fcgi_worker")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

_STATUS: Final = re.compile(r"[1-9][0-9]{2}( [^\x00-\x1f\x7f]*)?")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_ERRORS_HELD: Final = 8192  # maximum buffered bytes of wsgi.errors

_ENVIRON: Final[dict[str, object]] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.0",
    "wsgi.version": (1, 0),
    "fcgi_worker.server": "fcgi-worker",  # SERVER_SOFTWARE names the front end
    "wsgi.url_scheme": "http",
    "wsgi.multithread": False,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.file_wrapper": FileWrapper,
    "wsgi.input_terminated": True,  # read to EOF: CONTENT_LENGTH may be missing
}

_INTERNAL_ERROR: Final = (
    b"Status: 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n\r\n"
)
_INTERNAL_ERROR_BODY: Final = b"Internal Server Error\n"


class Aborted(ConnectionError):
    """The web server cancelled the request (ABORT_REQUEST)."""


class Head:
    """The head of a response, checked and encoded."""

    __slots__ = ("encoded", "has_body", "length", "whole")

    def __init__(self, encoded: bytes, length: int | None, has_body: bool) -> None:
        self.encoded = encoded  # without the blank line
        self.whole = encoded + b"\r\n"
        self.length = length  # the value of Content-Length
        self.has_body = has_body  # 1xx, 204 and 304 have none


@functools.lru_cache(256)
def encode_head(status: str, headers: tuple[tuple[str, str], ...]) -> Head:
    """Return the CGI head of a response (RFC 3875 section 6.2).

    Raises ValueError for values that would break the framing. Cached, so that equal heads are
    checked once.
    """
    if type(status) is not str or not _STATUS.fullmatch(status):
        raise ValueError(f"status {status!r} is not three digits and a reason")
    lines = [f"Status: {status}\r\n"]
    length = None
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise ValueError(f"header name {name!r} is not a token (RFC 9110 section 5.1)")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of header {name} contains control characters: {value!r}")
        if name.lower() == "content-length":
            if not (value.isascii() and value.isdigit()):
                raise ValueError(f"Content-Length {value!r} is not a number of bytes")
            length = int(value)
        lines.append(f"{name}: {value}\r\n")
    has_body = status[0] != "1" and status[:3] not in ("204", "304")
    return Head("".join(lines).encode("latin-1"), length, has_body)


class Exchange:
    """One request and its response on one connection, with blocking I/O."""

    __slots__ = (
        "_aborted",
        "_connection",
        "_descriptor",
        "_ended",
        "_errors",
        "_head",
        "_head_sent",
        "_request",
        "_sent",
        "_settings",
        "_stdin",
        "_wants_body",
        "body_ended",
    )

    def __init__(
        self, descriptor: int, connection: ServerConnection, request: Request, settings: Settings
    ) -> None:
        self._descriptor = descriptor
        self._connection = connection
        self._request = request
        self._settings = settings
        self._stdin: deque[bytes] = deque()  # body pieces received but not yet read
        self.body_ended = False
        self._aborted = False
        self._ended = False  # END_REQUEST has been sent
        self._head: Head | None = None
        self._head_sent = False
        self._sent = 0  # bytes of body
        self._errors = b""
        self._wants_body = request.params.get("REQUEST_METHOD") != "HEAD"

    def run(self, application: "WSGIApplication") -> None:
        """Serve the request to its end.

        Raises PeerGone if the connection must close: the web server disconnected, or the
        application failed in the middle of the response.
        """
        try:
            result = application(self._make_environ(), self.start_response)
            try:
                self._send_result(result)
            finally:
                if hasattr(result, "close"):
                    result.close()
        except PeerGone:
            raise
        except Aborted:
            self._write(self._connection.end_request())
        except (Exception, SystemExit):  # noqa: BLE001 - an application may raise anything
            self._fail()

    # The request

    def _make_environ(self) -> "WSGIEnvironment":
        environ = {**_ENVIRON, **self._request.params}
        environ.pop(
            "HTTP_PROXY", None
        )  # it would redirect the application's own requests (httpoxy)
        if "PATH_INFO" not in environ:  # nginx's fastcgi_params put the whole path into SCRIPT_NAME
            environ["PATH_INFO"] = environ["SCRIPT_NAME"]
            environ["SCRIPT_NAME"] = ""
        if environ.get("REQUEST_SCHEME") == "https" or environ.get("HTTPS") in ("on", "1"):
            environ["wsgi.url_scheme"] = "https"
        self._take_events()
        if self.body_ended:
            environ["wsgi.input"] = io.BytesIO(b"".join(self._stdin))
        else:
            environ["wsgi.input"] = io.BufferedReader(_Body(self), READ_SIZE)
        environ["wsgi.errors"] = _Errors(self)
        return environ

    def _take_events(self) -> None:
        """Process received records: body pieces, the end of the body, an abort."""
        while not self.body_ended and not self._aborted:
            event = self._connection.next_event()
            if event is NEED_DATA:
                return
            if isinstance(event, Stdin):
                self._stdin.append(event.data)
            elif isinstance(event, Abort):
                self._aborted = True
            else:
                self.body_ended = True

    def read_body(self, most: int) -> bytes:
        """Return up to `most` bytes of the body, b"" at its end; raises PeerGone or Aborted."""
        while not self._stdin:
            if self.body_ended:
                return b""
            if self._aborted:
                raise Aborted("the web server aborted the request")
            data = read_some(self._descriptor, self._settings)
            if not data:
                raise PeerGone("closed in the middle of a request body")
            self._connection.receive_data(data)
            self._take_events()
        piece = self._stdin.popleft()
        if len(piece) > most:
            self._stdin.appendleft(piece[most:])
        return piece[:most]

    # The response

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """Store the response head (PEP 3333); it is sent with the first piece of the body."""
        if exc_info:
            try:
                if self._head_sent and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # breaks the reference cycle through the traceback
        elif self._head is not None:
            raise RuntimeError("start_response was called again without exc_info")
        self._head = encode_head(status, tuple(headers))
        return self.write

    def write(self, data: bytes) -> None:
        """Send a piece of the body now (PEP 3333's write callable)."""
        if self._head_sent:
            self._look_for_abort()
        content = self._head_due() + self._count(data)
        self._head_sent = True
        self._write(self._connection.send_stdout(content))

    def _send_result(self, result: Iterable[bytes]) -> None:
        if isinstance(result, list | tuple):
            self._finish(result[0] if len(result) == 1 else b"".join(result))
            return
        for piece in result:
            if piece:
                self.write(piece)
        self._finish(b"")

    def _finish(self, body: bytes) -> None:
        """Send the rest of the response and END_REQUEST in one write."""
        content = self._head_due(len(body)) + self._count(body)
        self._check_length()
        self._head_sent = True
        errors = self._take_errors()  # STDERR must precede END_REQUEST
        answer = self._connection.send_answer(content)
        self._write(errors + answer if errors else answer)
        self._ended = True

    def _head_due(self, length: int | None = None) -> bytes:
        """Return the head unless already sent; add Content-Length if `length` is given."""
        if self._head_sent:
            return b""
        head = self._head
        if head is None:
            raise RuntimeError("the application did not call start_response before the body")
        if length is None or head.length is not None or not head.has_body:
            return head.whole
        if not self._wants_body:  # HEAD: the length that GET would have is unknown
            return head.whole
        return b"%bContent-Length: %d\r\n\r\n" % (head.encoded, length)

    def _check_length(self) -> None:
        head = self._head
        if head is None or head.length is None or self._sent == head.length:
            return
        if head.has_body and self._wants_body:
            missing = head.length - self._sent
            raise ValueError(f"the body is {missing} bytes shorter than its Content-Length")

    def _count(self, data: bytes) -> bytes:
        """Return the part of `data` to send; ValueError if it exceeds Content-Length."""
        if not isinstance(data, bytes):
            raise TypeError(f"the body must consist of bytes (PEP 3333), not {type(data).__name__}")
        self._sent += len(data)
        if self._head is None or not self._head.has_body or not self._wants_body:
            return b""
        if self._head.length is not None and self._sent > self._head.length:
            raise ValueError(f"the body is longer than its Content-Length {self._head.length}")
        return data

    def _look_for_abort(self) -> None:
        """Raise Aborted if an ABORT_REQUEST has arrived; costs one system call per piece."""
        if not self.body_ended:
            return  # bytes to read belong to the body
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            raise PeerGone(error.strerror) from None
        # End of file may be a half-close: only a write shows whether the peer still listens.
        self._connection.receive_data(data)
        if isinstance(self._connection.next_event(), Abort):
            raise Aborted("the web server aborted the request")

    def _fail(self) -> None:
        """Send a 500 after an application error, or cut off a response already begun."""
        text = traceback.format_exc()
        uri = self._request.params.get("REQUEST_URI", "")
        method = self._request.params.get("REQUEST_METHOD", "")
        log.error("the application failed on %s %s\n%s", method, uri, text.rstrip())
        if self._ended:  # it failed in close(), after the whole response
            return
        errors = self._take_errors() + self._connection.send_stderr(text.encode(errors="replace"))
        if self._head_sent:
            self._write(errors)
            raise PeerGone("the application failed in the middle of its response")
        answer = self._complete_head(_INTERNAL_ERROR)
        if self._wants_body:
            answer += _INTERNAL_ERROR_BODY
        self._write(errors + self._connection.send_stdout(answer) + self._connection.end_request(1))

    def _complete_head(self, head: bytes) -> bytes:
        """Complete a head made here; a subclass adds its fields."""
        return head

    def _write(self, data: bytes) -> None:
        answers = self._connection.bytes_to_send()
        write_all(self._descriptor, answers + data if answers else data, self._settings)

    # wsgi.errors

    def add_errors(self, text: str) -> None:
        """Buffer text that the application writes to wsgi.errors."""
        self._errors += text.encode(errors="backslashreplace")
        if len(self._errors) >= _ERRORS_HELD:
            self.flush_errors()

    def flush_errors(self) -> None:
        """Send the buffered text to the web server's error log and to our log."""
        if records := self._take_errors():
            self._write(records)

    def _take_errors(self) -> bytes:
        if not self._errors:
            return b""
        errors, self._errors = self._errors, b""
        log.warning("wsgi.errors: %s", errors.decode(errors="replace").rstrip())
        if self._ended:  # written in close(): the request has already ended
            return b""
        return self._connection.send_stderr(errors)


class _Body(io.RawIOBase):
    """The request body as a raw stream, to be wrapped in a BufferedReader."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # always a memoryview
        """Fill `buffer` with the next bytes; return their number, 0 at the end of the body."""
        piece = self._exchange.read_body(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


class _Errors:
    """wsgi.errors: a text stream to the web server's error log."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def write(self, text: str) -> int:
        """Buffer `text`."""
        self._exchange.add_errors(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Buffer each of `lines`."""
        for line in lines:
            self._exchange.add_errors(line)

    def flush(self) -> None:
        """Send the buffered text."""
        self._exchange.flush_errors()
