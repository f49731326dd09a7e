"""One request through a WSGI application (PEP 3333), as FastCGI records.

The response leaves in as few writes as possible. A list of byte strings goes out with its head, its
length and END_REQUEST in one system call. Anything else is streamed, each piece as it is yielded,
because PEP 3333 forbids delaying a piece.

If the application raises before its head is sent, the client gets a 500, whatever the class of the
exception. After that, the worker closes the connection without END_REQUEST, so that no web server
mistakes the partial response for a complete one. In both cases the traceback goes to the log and,
as STDERR records, to the web server's error log. After a write that did not complete, nothing more
is written: it would land in the middle of a record.
"""

import io
import os
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from chainlab.wire.fastcgi import (
    NEED_DATA,
    Abort,
    ProtocolError,
    Request,
    ServerConnection,
    Stdin,
)
from fcgi_worker import forks
from fcgi_worker.body import Arriving, Collected, NoSpaceError
from fcgi_worker.environ import make_environ
from fcgi_worker.head import Head, encode_head
from fcgi_worker.interrupts import Stopped
from fcgi_worker.log import log, printable
from fcgi_worker.peer import READ_SIZE, PeerGone, read_some, write_all
from fcgi_worker.settings import Settings

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

_ERRORS_HELD: Final = 8192  # maximum buffered bytes of wsgi.errors


def _whole(status: str) -> tuple[bytes, bytes]:
    """Return head and body of a response that names its status."""
    body = status.partition(" ")[2].encode() + b"\n"
    fields = f"Status: {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    return fields.encode(), body


_INTERNAL_ERROR: Final = _whole("500 Internal Server Error")
_NO_SPACE: Final = _whole("507 Insufficient Storage")


class Aborted(ConnectionError):
    """The web server cancelled the request (ABORT_REQUEST)."""


class Exchange:
    """One request and its response on one connection, with blocking I/O."""

    __slots__ = (
        "_aborted",
        "_collected",
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
        "_writing",
        "body_ended",
        "cut",
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
        self._collected: Collected | None = None
        self._aborted = False
        self._ended = False  # END_REQUEST has been sent
        self._writing = False  # a write has begun and not completed
        self.cut = True  # the response is not whole
        self._head: Head | None = None
        self._head_sent = False
        self._sent = 0  # bytes of body
        self._errors = b""
        self._wants_body = request.params.get("REQUEST_METHOD") != "HEAD"

    def run(self, application: "WSGIApplication") -> None:
        """Serve the request to its end.

        Raises PeerGone if the connection must close: the web server disconnected, or the
        application failed in the middle of the response. Raises ProtocolError if the web server
        sent something else than records, and Stopped if the process must exit.
        """
        try:
            result = application(self._make_environ(), self.start_response)
            try:
                self._send_result(result)
            finally:
                if hasattr(result, "close"):
                    result.close()
            self.cut = False
        except (PeerGone, ProtocolError, Stopped):
            raise
        except Aborted:
            if not self._ended:
                self._write(self._connection.end_request())
        except NoSpaceError as error:
            self._refuse(str(error))
            self.cut = False
        except BaseException:
            if forks.forked:
                raise
            self._fail()
            self.cut = False

    def end(self) -> None:
        """Log what is left of wsgi.errors and free the body; called after `run`, always."""
        if self._errors:
            self._ended = True
            self._take_errors()
        if self._collected is not None:
            self._collected.close()

    # The request

    def _make_environ(self) -> "WSGIEnvironment":
        environ = make_environ(self._request.params, self._settings)
        self._take_events()
        length = environ.get("CONTENT_LENGTH", "")
        if not (length.isascii() and length.isdigit()):
            self._collect(environ)
        elif self.body_ended:
            environ["wsgi.input"] = io.BytesIO(b"".join(self._stdin))
        else:
            environ["wsgi.input"] = io.BufferedReader(Arriving(self.read_body), READ_SIZE)
        environ["wsgi.errors"] = _Errors(self)
        return environ

    def _collect(self, environ: "WSGIEnvironment") -> None:
        """Read a body of unknown length to its end, and set its length."""
        if self.body_ended and not self._stdin:
            environ.pop("CONTENT_LENGTH", None)
            environ["wsgi.input"] = io.BytesIO()
            return
        self._collected = collected = Collected()
        while piece := self.read_body(READ_SIZE):
            collected.add(piece)
        environ["CONTENT_LENGTH"] = str(collected.length)
        environ["wsgi.input"] = collected.stream()

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
            if self.body_ended or self._ended:
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
        if content:
            self._write(self._connection.send_stdout(content))

    def _send_result(self, result: Iterable[bytes]) -> None:
        if isinstance(result, list | tuple):
            self._finish(result[0] if len(result) == 1 else b"".join(result))
            return
        for piece in result:
            if piece:
                self.write(piece)
                if self._head is not None and self._sent == self._head.length:
                    break  # PEP 3333: the server stops at Content-Length
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
        """Return the part of `data` to send: nothing beyond Content-Length (PEP 3333)."""
        if not isinstance(data, bytes):
            raise TypeError(f"the body must consist of bytes (PEP 3333), not {type(data).__name__}")
        head = self._head
        if head is not None and head.length is not None and self._sent + len(data) > head.length:
            data = data[: head.length - self._sent]
        self._sent += len(data)
        if head is None or not head.has_body or not self._wants_body:
            return b""
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
        log.error("the application failed on %s\n%s", self._name, text.rstrip())
        if self._ended:  # it failed in close(), after the whole response
            return
        errors = self._take_errors() + self._connection.send_stderr(text.encode(errors="replace"))
        if self._head_sent:
            self._write(errors)
            raise PeerGone("the application failed in the middle of its response")
        self._answer(_INTERNAL_ERROR, errors)

    def _refuse(self, why: str) -> None:
        """Send a 507: a resource is missing, and it is not the application's fault."""
        log.error("%s is refused: %s", self._name, why)
        self._answer(_NO_SPACE, b"")

    @property
    def _name(self) -> str:
        """The request as the log names it."""
        params = self._request.params
        return printable(f"{params.get('REQUEST_METHOD', '')} {params.get('REQUEST_URI', '')}")

    def _answer(self, answer: tuple[bytes, bytes], errors: bytes) -> None:
        """Send a response of the worker's own, after STDERR records."""
        head, body = answer
        content = self._complete_head(head) + (body if self._wants_body else b"")
        records = self._connection.send_stdout(content) + self._connection.end_request(1)
        self._write(errors + records)
        self._ended = True

    def _complete_head(self, head: bytes) -> bytes:
        """Complete a head made here; a subclass adds its fields."""
        return head

    def _write(self, data: bytes) -> None:
        if self._writing:
            raise PeerGone("an earlier write did not complete")
        answers = self._connection.bytes_to_send()
        self._writing = True
        write_all(self._descriptor, answers + data if answers else data, self._settings)
        self._writing = False

    # wsgi.errors

    def add_errors(self, text: str) -> None:
        """Buffer text that the application writes to wsgi.errors."""
        self._errors += text.encode(errors="backslashreplace")
        if len(self._errors) >= _ERRORS_HELD:
            self.flush_errors()

    def flush_errors(self) -> None:
        """Send the buffered text to the web server's error log and to our log."""
        if (records := self._take_errors()) and not self._writing:
            self._write(records)

    def _take_errors(self) -> bytes:
        if not self._errors:
            return b""
        errors, self._errors = self._errors, b""
        log.warning("wsgi.errors: %s", errors.decode(errors="replace").rstrip())
        if self._ended:  # written in close(): the request has already ended
            return b""
        return self._connection.send_stderr(errors)


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
