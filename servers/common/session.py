"""One HTTP/1.1 connection without its I/O, shared by all our servers.

    session.need    what the server must do next                      and then call
    READ            wait for bytes, receive them (b"" at the end)     receive(data, now)
    WRITE           send `output`, as much as the kernel accepts      sent(count, now)
    SENDFILE        send `file` by sendfile(2), or call load(now)     sent(count, now)
    WAIT            wait `pause` seconds, in any way                  resume(now)
    SHUTDOWN        shut down the sending direction                   shut(now)
    CLOSE           close the socket                                  close()

A session has one need at a time: it reads a complete request and answers it completely before it
looks at the next one; pipelined bytes wait in the kernel. So memory is bounded by one request's
content (CHAINLAB_BODY_LIMIT) and one piece of the answer. The server calls `expire` at `deadline`
(time.monotonic), which every call that makes progress moves. The application's interface is
`servers.app.routes.handle`.
"""

import io
import logging
import math
import os
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from chainlab.wire.http1 import (
    NEED_DATA,
    Data,
    EndOfMessage,
    Limits,
    LocalProtocolError,
    RemoteProtocolError,
    RequestHead,
    ResponseHead,
    ServerConnection,
    reason_phrase,
)
from servers.app.messages import File, Input, Response, Steps, Wait
from servers.app.routes import BODY_LIMIT, advance, handle

READ, WRITE, SENDFILE, WAIT, SHUTDOWN, CLOSE = range(6)
"""What a session needs; plain integers, because they are compared at every event."""

NEVER: Final = math.inf

RECEIVE: Final = 65536
"""Bytes per read."""

PATIENCE: Final = 10.0
"""Seconds for a request's head, between two pieces of its content, and for a stuck send."""

IDLE: Final = 75.0
"""Seconds that a kept connection may be idle; nginx's keepalive_timeout."""

_LINGER: Final = 1.0  # seconds to keep reading after the last answer
_LINGER_BYTES: Final = 128 << 20
_LIMITS: Final = Limits(body=None)  # the application enforces its own limit

log = logging.getLogger("servers")


class Session:
    """A connection from `client` (an IP address, or "unix:"), accepted at `now`.

    Kept connections may be idle for `idle` seconds.
    """

    __slots__ = (
        "_client",
        "_content",
        "_held",
        "_http",
        "_idle",
        "_lingered",
        "_pieces",
        "_request",
        "_size",
        "_steps",
        "deadline",
        "file",
        "need",
        "output",
        "pause",
    )

    def __init__(self, client: str, now: float, idle: float = IDLE) -> None:
        self.need = READ
        self.deadline = now + PATIENCE
        self.output: bytes | memoryview = b""
        self.file: File | None = None
        self.pause = 0.0
        self._client = client
        self._idle = idle
        self._http = ServerConnection(_LIMITS)
        self._request: RequestHead | None = None  # the one being received or answered
        self._content: list[bytes] = []
        self._size = 0
        self._steps: Steps | None = None  # of a waiting handler
        self._pieces: Iterator[bytes | Wait] | None = None  # of an answer being sent
        self._held: Wait | None = None  # a pause to make once the head has been sent
        self._lingered = -1  # bytes read after the last answer; -1: not lingering

    # For the server to call

    def receive(self, data: bytes, now: float) -> None:
        """Process bytes from the client; b"": it will send no more."""
        http = self._http
        if self._lingered >= 0:
            self._lingered += len(data)
            if not data or self._lingered > _LINGER_BYTES:
                self.need = CLOSE
        elif data:
            head = http.receive_known(data)
            if head is not None:
                self._handle(head, b"", now)
                return
            if http.ready:  # the first byte; later bytes of a head do not extend the deadline
                self.deadline = now + PATIENCE
            http.receive_data(data)
            self._go_on(now)
        else:
            http.receive_eof()
            self._go_on(now)

    def sent(self, count: int, now: float) -> None:
        """Record that the first `count` bytes of `output` or `file` have been sent."""
        if self.need == SENDFILE:
            self._sent_of_file(count, now)
        elif count < len(self.output):
            self.output = memoryview(self.output)[count:]
            self.deadline = now + PATIENCE
        else:
            self.output = b""
            if self._held is not None:
                self._wait(self._held)
                self._held = None
            elif self._pieces is not None:
                self._next_piece(b"", now)
            elif self.file is not None:
                self.need = SENDFILE
            else:
                self._answered(now)

    def load(self, now: float) -> None:
        """Send `file` through `output` in pieces: for a server without sendfile."""
        assert self.file is not None
        file, self.file = self.file, None
        self._pieces = _read(file)
        self._next_piece(b"", now)

    def resume(self, now: float) -> None:
        """Continue after a pause."""
        if self._steps is not None:
            self._take_step(now)
        else:
            self._next_piece(b"", now)

    def shut(self, now: float) -> None:
        """Keep reading for a while after the sending direction has been shut down, so that the
        client can read the answer before a reset destroys it (RFC 9112 section 9.6)."""
        self._lingered = 0
        self.need = READ
        self.deadline = now + _LINGER

    def expire(self, now: float) -> None:
        """Handle the deadline: 408 in the middle of a request, else close."""
        if self.need == READ and self._lingered < 0 and not self.idle:
            self._http.refuse()
            self._refuse(408, "the rest of the request did not come in time", now)
        else:
            self.need = CLOSE

    def drain(self) -> None:
        """Accept no more requests: close now if idle, else after the answer."""
        self._http.keep_alive = False
        if self.idle:
            self.need = CLOSE

    @property
    def idle(self) -> bool:
        """Whether it waits for a request of which no byte has arrived."""
        return self.need == READ and self._lingered < 0 and self._http.ready

    @property
    def unfinished(self) -> bool:
        """Whether an answer has started and not finished."""
        return self._pieces is not None or self.file is not None or bool(self.output)

    def close(self) -> None:
        """Free the resources of an unfinished answer."""
        self.need = CLOSE
        for part in (self._steps, self._pieces, self.file):
            if isinstance(part, Generator | File):
                part.close()
        self._steps = self._pieces = self.file = None

    # Requests

    def _go_on(self, now: float) -> None:
        """Process received bytes up to the end of one request."""
        http = self._http
        try:
            while (event := http.next_event()) is not NEED_DATA:
                if isinstance(event, Data):
                    self._content.append(event.data)
                    self._size += len(event.data)
                    if self._size > BODY_LIMIT:
                        break
                elif isinstance(event, RequestHead):
                    self._request = event
                    if (event.content_length or 0) > BODY_LIMIT:
                        break
                elif isinstance(event, EndOfMessage):
                    break
                else:
                    self.need = CLOSE
                    return
        except RemoteProtocolError as error:
            self._refuse(error.status, error.reason, now)
            return
        if event is NEED_DATA:
            self._await_more(now)
            return
        assert self._request is not None
        content = b"".join(self._content)
        self._content = []
        self._size = 0
        self._handle(self._request, content, now)

    def _await_more(self, now: float) -> None:
        http = self._http
        if http.awaiting_continue:
            self._put(http.send_continue(), now)
            return
        if self.need != READ or http.unread:
            self.deadline = now + PATIENCE
        self.need = READ

    def _handle(self, head: RequestHead, content: bytes, now: float) -> None:
        request = HttpRequest(head, content, self._client)
        self._request = head
        answer = handle(request)
        if type(answer) is Response:
            self._respond(answer, now)
        else:
            self._steps = answer  # type: ignore[assignment]  # what is no response is steps
            self._take_step(now)

    def _take_step(self, now: float) -> None:
        assert self._steps is not None
        step = advance(self._steps)
        if isinstance(step, Wait):
            self._wait(step)
        else:
            self._steps = None
            self._respond(step, now)

    def _wait(self, step: Wait) -> None:
        self.need = WAIT
        self.pause = step.seconds
        self.deadline = NEVER

    # Answers

    def _respond(self, response: Response, now: float) -> None:
        http = self._http
        head = _encoded_head(response)
        body = response.body
        assert self._request is not None
        if http.unread:
            http.keep_alive = False
        if type(body) is bytes:
            self._put(http.send_complete(head, body, _date_line(now)), now)
            return
        out = http.send_response(head, _date_line(now))
        if self._request.method == b"HEAD":
            response.close()
            self._put(out + http.end(), now)
        elif isinstance(body, File):
            self.file = body
            self._put(out, now)
        else:
            self._pieces = body  # type: ignore[assignment]  # bytes have been dealt with
            self._next_piece(out, now)

    def _next_piece(self, before: bytes, now: float) -> None:
        """Put `before` and the next piece of the answer into `output`, or start its pause."""
        try:
            piece = next(self._pieces)  # type: ignore[arg-type]  # there is an answer
            if isinstance(piece, Wait):
                self._held = piece if before else None
                if before:
                    self._put(before, now)
                else:
                    self._wait(piece)
            else:
                self._put(before + self._http.send_data(piece), now)
        except StopIteration:
            self._pieces = None
            self._end(before, now)
        except Exception as error:  # from the application: truncate the answer
            log.exception("the answer broke off: %s", error)
            self.need = CLOSE

    def _end(self, before: bytes, now: float) -> None:
        try:
            out = before + self._http.end()
        except LocalProtocolError as error:
            log.error("an answer shorter than its Content-Length: %s", error)
            self.need = CLOSE
            return
        if out:
            self._put(out, now)
        else:
            self._answered(now)

    def _sent_of_file(self, count: int, now: float) -> None:
        file = self.file
        assert file is not None
        self._http.sent_by_caller(count)
        file.offset += count
        file.length -= count
        self.deadline = now + PATIENCE
        if not count:
            log.error("the file ended %d bytes short of what was promised", file.length)
            self.need = CLOSE
        elif not file.length:
            file.close()
            self.file = None
            self._end(b"", now)

    def _put(self, out: bytes, now: float) -> None:
        self.output = out
        self.need = WRITE
        self.deadline = now + PATIENCE

    def _answered(self, now: float) -> None:
        """Continue after the complete answer has been sent."""
        http = self._http
        if http.ready:
            self.need = READ
            self.deadline = now + self._idle
        elif http.must_close:
            self.need = SHUTDOWN if http.unread else CLOSE
        else:  # a pipelined request, or content after 100 (Continue)
            self._go_on(now)

    def _refuse(self, status: int, why: str, now: float) -> None:
        """Answer an invalid request, and close."""
        self._content = []
        if self._http.response_started:
            self.need = CLOSE
            return
        body = f"{status} {reason_phrase(status).decode()}: {why}\n".encode()
        head = ResponseHead(status, ((b"Content-Type", b"text/plain"),))
        self._put(self._http.send_complete(head, body, _date_line(now)), now)


class HttpRequest:
    """A request as the application sees it; its fields are collected on demand."""

    __slots__ = ("_content", "_head", "_stream", "client", "method", "number", "path")

    def __init__(self, head: RequestHead, content: bytes, client: str) -> None:
        names = head.derived
        if names is None:
            path = unquote_to_bytes(head.path).decode("latin-1")
            names = head.derived = (head.method.decode(), path)
        self.method, self.path = names
        self.client = client
        self.number = 0
        self._head = head
        self._content = content
        self._stream: io.BytesIO | None = None

    @property
    def query(self) -> str:
        """The text after the question mark."""
        return self._head.query.decode("latin-1")

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields that CGI can express: no underscore in a name, no Proxy (httpoxy)."""
        found: dict[str, str] = {}
        for raw, value in self._head.fields:
            name = raw.decode("latin-1")
            if "_" not in name and name != "proxy":
                text = value.decode("latin-1")
                found[name] = f"{found[name]}, {text}" if name in found else text
        return found

    @property
    def body(self) -> Input:
        """The complete content."""
        if self._stream is None:
            self._stream = io.BytesIO(self._content)
        return self._stream

    @property
    def content_length(self) -> int | None:
        """The declared length; None for chunked content."""
        return None if self._head.chunked else self._head.content_length or 0

    @property
    def http_version(self) -> str:
        """HTTP/1.0 or HTTP/1.1."""
        return f"HTTP/1.{self._head.minor}"

    @property
    def architecture(self) -> str:
        """The id of this server."""
        return os.environ.get("CHAINLAB_ARCHITECTURE", "unknown")


def _read(file: File) -> Generator[bytes, None, None]:
    try:
        yield from iter(lambda: file.read(RECEIVE), b"")
    finally:
        file.close()


_heads: dict[tuple[int, tuple[tuple[str, str], ...]], ResponseHead] = {}
_HEADS_KEPT: Final = 256


def _encoded_head(response: Response) -> ResponseHead:
    """Return the response's head; cached, because the same heads recur."""
    key = (response.status, response.headers)
    head = _heads.get(key)
    if head is None:
        if len(_heads) >= _HEADS_KEPT:
            _heads.clear()
        fields = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in response.headers]
        head = _heads[key] = ResponseHead(response.status, fields)
    return head


_date: tuple[float, bytes] = (-1.0, b"")


def _date_line(now: float) -> bytes:
    """Return the Date field of this second (RFC 9110 section 6.6.1)."""
    global _date  # cached for all sessions
    if now >= _date[0]:
        moment = time.time()
        line = time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(moment))
        _date = (now + 1.0 - moment % 1.0, line.encode())
    return _date[1]
