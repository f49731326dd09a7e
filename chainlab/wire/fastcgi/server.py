"""The application's end of a FastCGI connection: requests in, responses out.

A connection runs one request at a time, as in php-fpm, flup and libfcgi: a second BEGIN_REQUEST
gets CANT_MPX_CONN, and FCGI_MPXS_CONNS is 0. Several at once would need a scheduler inside every
worker, and no web server asks for them (nginx and lighttpd never do).

    state     record                    becomes   what happens
    idle      BEGIN_REQUEST, Responder  params    -
    idle      BEGIN_REQUEST, other role idle      END_REQUEST(UNKNOWN_ROLE) is sent
    params    PARAMS, not empty         params    pairs are collected, up to the limit
    params    PARAMS, empty             stdin     event Request
    params    ABORT_REQUEST             idle      END_REQUEST is sent, no event
    stdin     STDIN, not empty          stdin     event Stdin
    stdin     STDIN, empty              running   event EndOfStdin
    stdin,    ABORT_REQUEST             aborted   event Abort
     running
    any       BEGIN_REQUEST, another id -         END_REQUEST(CANT_MPX_CONN) is sent
    any       GET_VALUES                -         GET_VALUES_RESULT is sent
    any       management, other type    -         UNKNOWN_TYPE is sent
    any       of another request id     -         ignored (section 3.3)
    stdin     end of file               aborted   event Abort

`end_request` returns to idle from every state. Anything else is a ProtocolError. After it, the
connection has failed for good: it is never idle, and whoever asks for an event gets an error.
"""

import functools
from collections.abc import Mapping
from typing import Final

from chainlab.wire.fastcgi.pairs import decode_pairs, encode_pairs, read_repeated_pairs
from chainlab.wire.fastcgi.records import (
    ABORT_REQUEST,
    BEGIN_BODY,
    BEGIN_REQUEST,
    CANT_MPX_CONN,
    END_BODY,
    END_REQUEST,
    GET_VALUES,
    GET_VALUES_RESULT,
    HEADER,
    HEADER_LENGTH,
    KEEP_CONN,
    MAX_CONTENT,
    NEED_DATA,
    PARAMS,
    REQUEST_COMPLETE,
    RESPONDER,
    STDERR,
    STDIN,
    STDOUT,
    UNKNOWN_ROLE,
    UNKNOWN_TYPE,
    VERSION,
    NeedData,
    ProtocolError,
    RecordReader,
    encode_record,
    encode_stream,
)

PARAMS_LIMIT: Final = 1 << 20
"""Default maximum bytes of parameters per request."""

_MANAGEMENT_LIMIT: Final = 4096  # maximum bytes of a GET_VALUES; the three known names take 60


# The states are plain integers: looking up an enum member costs more than the comparison.
_IDLE: Final = 0
_PARAMS: Final = 1
_STDIN: Final = 2
_RUNNING: Final = 3
_ABORTED: Final = 4
_ENDING: Final = 5  # the end of STDIN was read, EndOfStdin not yet returned
_FAILED: Final = 6  # the peer broke the protocol


class Request:
    """A request with all its parameters; its body follows as Stdin events."""

    __slots__ = ("keep_conn", "params", "request_id")

    def __init__(self, request_id: int, params: dict[str, str], keep_conn: bool) -> None:
        self.request_id = request_id
        self.params = params  # decoded as Latin-1, as PEP 3333 requires
        self.keep_conn = keep_conn  # the web server wants to reuse the connection


class Stdin:
    """A piece of the request body, never empty."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class EndOfStdin:
    """The end of the request body."""

    __slots__ = ()


class Abort:
    """The web server cancelled the request; end_request is still due unless it disconnected."""

    __slots__ = ()


_END_OF_STDIN: Final = EndOfStdin()
_ABORT: Final = Abort()

# How the common request begins and ends if it arrives in one read: id 1, Responder, no body.
_USUAL_ID: Final = 1
_USUAL_BEGINS: Final = {
    encode_record(BEGIN_REQUEST, _USUAL_ID, BEGIN_BODY.pack(RESPONDER, flags)): bool(flags)
    for flags in (0, KEEP_CONN)
}
_USUAL_BEGIN_LENGTH: Final = HEADER_LENGTH + BEGIN_BODY.size
_USUAL_END: Final = encode_record(PARAMS, _USUAL_ID) + encode_record(STDIN, _USUAL_ID)


class ServerConnection:
    """One connection from a web server. `values` are the answers to GET_VALUES, by name."""

    __slots__ = (
        "_answers",
        "_closed",
        "_keeps",
        "_params",
        "_params_limit",
        "_params_received",
        "_partial",
        "_reader",
        "_request_id",
        "_short",
        "_state",
        "_stderr_used",
        "_usual",
        "_values",
    )

    def __init__(
        self, values: Mapping[str, str] | None = None, params_limit: int = PARAMS_LIMIT
    ) -> None:
        self._values = values or {}
        self._params_limit = params_limit
        self._reader = RecordReader()
        self._answers: list[bytes] = []
        self._state = _IDLE
        self._request_id = 0
        self._params: dict[str, str] = {}
        self._params_received = 0
        self._keeps = False
        self._partial = b""  # an incomplete name-value pair
        self._short = b""  # an incomplete short record
        self._stderr_used = False
        self._closed = False
        self._usual = b""  # a read that looks like the common request

    @property
    def idle(self) -> bool:
        """True if no request runs and no byte of the next one has arrived."""
        return self._state == _IDLE and self._reader.between_records and not self._usual

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer, in any fragmentation."""
        if self._usual:
            self._reader.receive_data(self._usual)
            self._usual = b""
        elif (
            data[:_USUAL_BEGIN_LENGTH] in _USUAL_BEGINS and data.endswith(_USUAL_END) and self.idle
        ):
            self._usual = data
            return
        self._reader.receive_data(data)

    def receive_eof(self) -> None:
        """Note that the peer will send no more; an incomplete request is aborted."""
        self._closed = True

    def bytes_to_send(self) -> bytes:
        """Return pending answers to management records and refused requests."""
        if not self._answers:
            return b""
        answers = b"".join(self._answers)
        self._answers.clear()
        return answers

    def next_event(self) -> Request | Stdin | EndOfStdin | Abort | NeedData:
        """Return the next event; NEED_DATA if more bytes must arrive first.

        Raises ProtocolError if the peer breaks the protocol; then close the connection.
        """
        try:
            if self._usual:
                if (request := self._read_usual(self._usual)) is not None:
                    self._usual = b""
                    return request
                self.receive_data(b"")  # not the common request: parse it record by record
            if self._state >= _ENDING:
                if self._state == _FAILED:
                    raise ProtocolError("the connection has failed")
                self._state = _RUNNING
                return _END_OF_STDIN
            return self._next_record_event()
        except ProtocolError:
            self._state = _FAILED
            raise

    def _next_record_event(self) -> Stdin | Request | EndOfStdin | Abort | NeedData:
        reader = self._reader
        while reader.records or reader.cut():
            record_type, request_id, content, ends = reader.records.pop()
            if request_id and request_id == self._request_id:
                event = self._on_request_record(record_type, content)
                if event is not None:
                    return event
            elif record_type == BEGIN_REQUEST:
                body = self._gather(content, ends, BEGIN_BODY.size)
                if body is not None:
                    self._begin(request_id, body)
            elif not request_id:
                self._on_management_record(record_type, content, ends)
        if self._closed and self._state == _STDIN:
            self._state = _ABORTED
            return _ABORT
        return NEED_DATA

    # Requests

    def _read_usual(self, data: bytes) -> Request | None:
        """Parse a bodiless request that arrived in one read; None if `data` is something else.

        Nearly all requests are of this kind. The result is the same as record by record, in a third
        of the time.
        """
        params: dict[str, str] = {}
        at, end = _USUAL_BEGIN_LENGTH, len(data) - len(_USUAL_END)
        while at < end:
            version, record_type, request_id, length, padding = HEADER.unpack_from(data, at)
            start = at + HEADER_LENGTH
            at = start + length + padding
            if (version, record_type, request_id) != (VERSION, PARAMS, _USUAL_ID) or not length:
                return None
            block = data[start : start + length]
            if at > end or read_repeated_pairs(block, params, self._params_limit) != length:
                return None
        if len(data) > self._params_limit:
            return None
        self._request_id = _USUAL_ID
        self._stderr_used = False
        self._state = _ENDING
        return Request(_USUAL_ID, params, _USUAL_BEGINS[data[:_USUAL_BEGIN_LENGTH]])

    def _begin(self, request_id: int, body: bytes) -> None:
        if len(body) != BEGIN_BODY.size or not request_id:
            raise ProtocolError("BEGIN_REQUEST of the wrong length or with request id 0")
        role, flags = BEGIN_BODY.unpack(body)
        if self._state != _IDLE:
            self._refuse(request_id, CANT_MPX_CONN)
        elif role != RESPONDER:
            self._refuse(request_id, UNKNOWN_ROLE)
        else:
            self._request_id = request_id
            self._keeps = bool(flags & KEEP_CONN)
            self._params = {}
            self._params_received = 0
            self._stderr_used = False
            self._state = _PARAMS

    def _refuse(self, request_id: int, status: int) -> None:
        body = END_BODY.pack(0, status)
        self._answers.append(encode_record(END_REQUEST, request_id, body))

    def _on_request_record(
        self, record_type: int, content: bytes
    ) -> Request | Stdin | EndOfStdin | Abort | None:
        if record_type == PARAMS and self._state == _PARAMS:
            return self._on_params(content)
        if record_type == STDIN and self._state in (_STDIN, _ABORTED):
            return self._on_stdin(content)
        if record_type == ABORT_REQUEST:
            return self._on_abort(content)
        if record_type in (PARAMS, STDIN, BEGIN_REQUEST):
            raise ProtocolError(f"unexpected record type {record_type}")
        return None  # DATA is for Filters only; a Responder ignores other types

    def _on_params(self, content: bytes) -> Request | None:
        if content:
            self._params_received += len(content)
            if self._params_received > self._params_limit:
                raise ProtocolError(f"more than {self._params_limit} bytes of parameters")
            block = self._partial + content if self._partial else content
            taken = read_repeated_pairs(block, self._params, self._params_limit)
            self._partial = block[taken:]
            return None
        if self._partial:
            raise ProtocolError("the parameters end inside a name-value pair")
        self._state = _STDIN
        return Request(self._request_id, self._params, self._keeps)

    def _on_stdin(self, content: bytes) -> Stdin | EndOfStdin | None:
        if self._state == _ABORTED:
            return None
        if content:
            return Stdin(content)
        self._state = _RUNNING
        return _END_OF_STDIN

    def _on_abort(self, content: bytes) -> Abort | None:
        if content:
            raise ProtocolError("ABORT_REQUEST with content")
        if self._state == _PARAMS:  # the caller has not seen this request yet
            self._answers.append(self.end_request())
            return None
        self._state = _ABORTED
        return _ABORT

    # Management records (section 4)

    def _on_management_record(self, record_type: int, content: bytes, ends: bool) -> None:
        if record_type != GET_VALUES:
            if ends:
                body = bytes((record_type,)) + bytes(7)
                self._answers.append(encode_record(UNKNOWN_TYPE, 0, body))
            return
        asked = self._gather(content, ends, _MANAGEMENT_LIMIT)
        if asked is None:
            return
        known = [
            (name.encode("latin-1"), self._values[name].encode("latin-1"))
            for name in decode_pairs(asked)
            if name in self._values
        ]
        self._answers.append(encode_record(GET_VALUES_RESULT, 0, encode_pairs(known)))

    def _gather(self, content: bytes, ends: bool, limit: int) -> bytes | None:
        """Return a short record once it is complete."""
        if ends and not self._short and len(content) <= limit:
            return content
        self._short += content
        if len(self._short) > limit:
            raise ProtocolError(f"a record longer than its limit of {limit} bytes")
        if not ends:
            return None
        whole, self._short = self._short, b""
        return whole

    # Responses

    def send_stdout(self, data: bytes) -> bytes:
        """Return response bytes (CGI head, blank line, body) as STDOUT records."""
        return encode_stream(STDOUT, self._request_id, data)

    def send_stderr(self, data: bytes) -> bytes:
        """Return a message for the web server's error log as STDERR records."""
        self._stderr_used = True
        return encode_stream(STDERR, self._request_id, data)

    def send_answer(self, answer: bytes) -> bytes:
        """Return a whole response and its end in one string."""
        if not 0 < len(answer) <= MAX_CONTENT:
            return self.send_stdout(answer) + self.end_request()
        return encode_record(STDOUT, self._request_id, answer) + self.end_request()

    def end_request(self, app_status: int = 0, protocol_status: int = REQUEST_COMPLETE) -> bytes:
        """Return the ends of the streams and END_REQUEST; afterwards the connection is idle.

        Later records of this request are ignored.
        """
        request_id = self._request_id
        if not request_id:
            raise ProtocolError("no request is running")
        self._request_id = 0
        self._partial = b""
        self._state = _IDLE
        return _encode_end(request_id, app_status, protocol_status, self._stderr_used)


@functools.lru_cache(64)
def _encode_end(request_id: int, app_status: int, protocol_status: int, stderr: bool) -> bytes:
    """Return the empty records that end the streams in use, and END_REQUEST."""
    end = encode_record(END_REQUEST, request_id, END_BODY.pack(app_status, protocol_status))
    if protocol_status != REQUEST_COMPLETE:
        return end
    ends = encode_record(STDOUT, request_id)
    if stderr:
        ends += encode_record(STDERR, request_id)
    return ends + end
