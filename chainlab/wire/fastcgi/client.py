"""The web server's end of a FastCGI connection: requests out, responses in.

One request at a time, always with id 1: hardly any application multiplexes (FCGI_MPXS_CONNS), so
a web server opens several connections instead. A kept connection takes its next request after
END_REQUEST. A request's head, and its body if complete, leave as one string: one system call.
"""

from typing import Final

from chainlab.wire.fastcgi.pairs import decode_pairs, encode_pairs
from chainlab.wire.fastcgi.records import (
    ABORT_REQUEST,
    BEGIN_BODY,
    BEGIN_REQUEST,
    END_BODY,
    END_REQUEST,
    GET_VALUES,
    GET_VALUES_RESULT,
    HEADER_LENGTH,
    KEEP_CONN,
    MAX_CONNS,
    MAX_REQS,
    MPXS_CONNS,
    NEED_DATA,
    PARAMS,
    REQUEST_COMPLETE,
    RESPONDER,
    STDERR,
    STDIN,
    STDOUT,
    UNKNOWN_TYPE,
    VERSION,
    NeedData,
    ProtocolError,
    RecordReader,
    encode_record,
    encode_stream,
    read_header,
)

_ID: Final = 1
_BEGIN: Final = encode_record(BEGIN_REQUEST, _ID, BEGIN_BODY.pack(RESPONDER, 0))
_BEGIN_KEEP: Final = encode_record(BEGIN_REQUEST, _ID, BEGIN_BODY.pack(RESPONDER, KEEP_CONN))
_END_PARAMS: Final = encode_record(PARAMS, _ID)
_END_STDIN: Final = encode_record(STDIN, _ID)
_END_PARAMS_AND_STDIN: Final = _END_PARAMS + _END_STDIN
_ENDINGS: Final = frozenset(
    start + encode_record(END_REQUEST, _ID, END_BODY.pack(0, REQUEST_COMPLETE))
    for start in (b"", encode_record(STDOUT, _ID))
)
_VALUES_LIMIT: Final = 4096  # maximum bytes of a GET_VALUES_RESULT


class Stdout:
    """A piece of the response, never empty."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class Stderr:
    """A piece of the application's error messages, never empty."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class EndRequest:
    """The application has finished the request (section 5.5)."""

    __slots__ = ("app_status", "protocol_status")

    def __init__(self, app_status: int, protocol_status: int) -> None:
        self.app_status = app_status  # an exit code; 0 is success
        self.protocol_status = protocol_status  # REQUEST_COMPLETE, or the reason for a refusal


class Values:
    """The answer to get_values; empty if the application does not know GET_VALUES."""

    __slots__ = ("values",)

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values


def encode_start(params: bytes) -> bytes:
    """Return the records that begin a request on a kept connection, for `begin_encoded`."""
    return _BEGIN_KEEP + encode_stream(PARAMS, _ID, params)


def encode_ending(pairs: bytes, *varying: tuple[bytes, int]) -> tuple[bytes, ...]:
    """Return the last records of a bodiless request, cut where the varying values belong.

    The records hold the parameters `pairs`, then one parameter per (name, value length) in
    `varying`, the end of PARAMS and the end of STDIN. To complete them, put the values between the
    returned pieces, in the order of `varying`.
    """
    names = [(name, bytes(length)) for name, length in varying]
    record = encode_stream(PARAMS, _ID, pairs + encode_pairs(names))
    pieces = []
    end = len(record)
    for name, blank in reversed(names):  # backwards: `pairs` may contain the same bytes
        begin = record.rindex(name + blank, 0, end) + len(name)
        pieces.append(record[begin + len(blank) : end])
        end = begin
    pieces[0] += _END_PARAMS_AND_STDIN
    return (record[:end], *reversed(pieces))


class ClientConnection:
    """One connection to an application."""

    __slots__ = ("_gathered", "_keep_conn", "_reader", "_running")

    def __init__(self) -> None:
        self._reader = RecordReader()
        self._running = False
        self._keep_conn = True
        self._gathered = b""  # an incomplete short record

    @property
    def reusable(self) -> bool:
        """True if the connection can take another request now."""
        return self._keep_conn and not self._running and self._reader.between_records

    def begin(
        self, params: bytes, *, keep_conn: bool, body: bytes | None = None, varying: bytes = b""
    ) -> bytes:
        """Return a request's first records: BEGIN_REQUEST and all PARAMS (encoded pairs).

        `varying` holds the pairs that change with every request (a request id). They travel in
        their own record, so that both ends can cache the record with the other pairs. If `body`
        is given (b"" for none), all of STDIN is included; if it is None, the caller sends the body
        with send_stdin and end_stdin. Raises ProtocolError while another request runs.
        """
        if self._running:
            raise ProtocolError("a request is running on this connection")
        self._running = True
        self._keep_conn = keep_conn
        head = encode_stream(PARAMS, _ID, params)
        if varying:
            head += encode_stream(PARAMS, _ID, varying)
        begin = _BEGIN_KEEP if keep_conn else _BEGIN
        if body is None:
            return begin + head + _END_PARAMS
        if body:
            stdin = encode_stream(STDIN, _ID, body)
            return begin + head + _END_PARAMS + stdin + _END_STDIN
        return begin + head + _END_PARAMS_AND_STDIN

    def begin_encoded(self, start: bytes, ending: bytes) -> bytes:
        """Return a bodiless request from records encoded earlier: `begin` for repeated requests.

        `start` comes from encode_start; `ending` from encode_ending, with the values filled in.
        """
        if self._running:
            raise ProtocolError("a request is running on this connection")
        self._running = True
        self._keep_conn = True
        return start + ending

    def send_stdin(self, data: bytes) -> bytes:
        """Return part of the request body as STDIN records."""
        return encode_stream(STDIN, _ID, data)

    def end_stdin(self) -> bytes:
        """Return the record that ends the request body."""
        return _END_STDIN

    def abort(self) -> bytes:
        """Return ABORT_REQUEST; the application still sends END_REQUEST (section 5.4)."""
        return encode_record(ABORT_REQUEST, _ID)

    def get_values(self) -> bytes:
        """Return a GET_VALUES record: how many connections and requests are accepted?"""
        names = (MAX_CONNS, MAX_REQS, MPXS_CONNS)
        pairs = encode_pairs((name.encode("ascii"), b"") for name in names)
        return encode_record(GET_VALUES, 0, pairs)

    def receive_whole(self, data: bytes) -> bytes | None:
        """Return the content if `data` is one whole response; otherwise consume nothing: None.

        Fast path for the common response: one STDOUT record and END_REQUEST in one read. The caller
        passes anything else to receive_data.
        """
        if len(data) < HEADER_LENGTH or not self._running or not self._reader.between_records:
            return None
        version, record_type, request_id, length, padding = read_header(data)
        end = HEADER_LENGTH + length
        if record_type != STDOUT or data[end + padding :] not in _ENDINGS:
            return None
        if version != VERSION or request_id != _ID or not length:
            return None
        self._running = False
        return data[HEADER_LENGTH:end]

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the application, in any fragmentation."""
        self._reader.receive_data(data)

    def receive_eof(self) -> None:
        """Note that the application closed; ProtocolError if a request is still running."""
        self._keep_conn = False
        if self._running:
            raise ProtocolError("the connection ended before END_REQUEST")

    def next_event(self) -> Stdout | Stderr | EndRequest | Values | NeedData:
        """Return the next event; NEED_DATA if more bytes must arrive first.

        Ignores records with another request id, and all of them if no request is running. Raises
        ProtocolError if the application breaks the protocol; then close the connection.
        """
        reader = self._reader
        while reader.records or reader.cut():
            record_type, request_id, content, ends = reader.records.pop()
            if request_id == _ID and self._running:
                if record_type == STDOUT:
                    if content:
                        return Stdout(content)
                elif record_type == STDERR:
                    if content:
                        return Stderr(content)
                elif record_type == END_REQUEST:
                    body = self._gather(content, ends, END_BODY.size)
                    if body is not None:
                        return self._end(body)
            elif not request_id:
                event = self._on_management_record(record_type, content, ends)
                if event is not None:
                    return event
        return NEED_DATA

    def _end(self, body: bytes) -> EndRequest:
        if len(body) != END_BODY.size:
            raise ProtocolError(f"END_REQUEST of {len(body)} bytes, not {END_BODY.size}")
        self._running = False
        return EndRequest(*END_BODY.unpack(body))

    def _on_management_record(self, record_type: int, content: bytes, ends: bool) -> Values | None:
        if record_type == GET_VALUES_RESULT:
            block = self._gather(content, ends, _VALUES_LIMIT)
            return None if block is None else Values(decode_pairs(block))
        if record_type == UNKNOWN_TYPE and ends:
            return Values({})
        return None

    def _gather(self, content: bytes, ends: bool, limit: int) -> bytes | None:
        self._gathered += content
        if len(self._gathered) > limit:
            raise ProtocolError(f"a record longer than its limit of {limit} bytes")
        if not ends:
            return None
        whole, self._gathered = self._gathered, b""
        return whole
