"""Decode a connection's bytes into messages: HTTP heads and bodies, FastCGI records.

A direction is decoded in one pass, after all its bytes are known. Each message has the offset of
its first byte, from which the caller finds the packet or call that carried it. Bytes that are
neither HTTP nor FastCGI become one message "bytes", and so does the rest after a decoding error.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from chainlab.wire.fastcgi import decode_pairs
from chainlab.wire.fastcgi.records import (
    BEGIN_BODY,
    BEGIN_REQUEST,
    END_BODY,
    END_REQUEST,
    GET_VALUES,
    GET_VALUES_RESULT,
    HEADER_LENGTH,
    KEEP_CONN,
    PARAMS,
    STDERR,
    STDIN,
    STDOUT,
    VERSION,
    ProtocolError,
    read_header,
)
from chainlab.wire.http1 import Limits, RemoteProtocolError
from chainlab.wire.http1.fields import Fields
from chainlab.wire.http1.framing import ChunkedReader, LengthReader
from chainlab.wire.http1.request import parse_request
from chainlab.wire.http1.response import parse_response

Protocol = Literal["http", "fastcgi", "bytes"]

_TYPES: Final = {
    1: "BEGIN_REQUEST", 2: "ABORT_REQUEST", 3: "END_REQUEST", 4: "PARAMS", 5: "STDIN",
    6: "STDOUT", 7: "STDERR", 8: "DATA", 9: "GET_VALUES", 10: "GET_VALUES_RESULT",
    11: "UNKNOWN_TYPE",
}  # fmt: skip
_ROLES: Final = {
    1: "",
    2: "authorizer, ",
    3: "filter, ",
}  # 1 is the responder, the only role in use
_STATUSES: Final = {0: "", 1: ", cannot multiplex", 2: ", overloaded", 3: ", unknown role"}
_LIMITS: Final = Limits(body=None, chunk_overhead=None)
_BODYLESS: Final = (204, 304)


@dataclass(frozen=True, slots=True)
class Found:
    """One message, and its position in the bytes of its direction."""

    protocol: Protocol
    name: str
    text: str
    offset: int
    length: int
    fields: tuple[tuple[str, str], ...] = ()


def decode(data: bytes, sender: Literal["client", "server"]) -> list[Found]:
    """Decode everything that one end sent."""
    if not data:
        return []
    if data[0] == VERSION:
        return list(_records(data))
    return list(_http(data, _request_head if sender == "client" else _response_head))


def _records(data: bytes) -> Iterator[Found]:
    at = 0
    while at + HEADER_LENGTH <= len(data):
        version, kind, request, length, padding = read_header(data, at)
        if version != VERSION or kind not in _TYPES:
            break
        begin = at + HEADER_LENGTH
        text, fields = _record(kind, data[begin : begin + length])
        whole = HEADER_LENGTH + length + padding
        if request > 1:
            text = f"{text}, request {request}"
        yield Found("fastcgi", _TYPES[kind], text, at, whole, fields)
        at += whole
    if at < len(data):
        yield _rest(data, at)


def _record(kind: int, content: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return a record's content as text and as name-value pairs."""
    if kind == BEGIN_REQUEST and len(content) == BEGIN_BODY.size:
        role, flags = BEGIN_BODY.unpack(content)
        return f"{_ROLES.get(role, role)}{'keep' if flags & KEEP_CONN else 'close'}", ()
    if kind == END_REQUEST and len(content) == END_BODY.size:
        code, status = END_BODY.unpack(content)
        return f"exit {code}{_STATUSES.get(status, status)}", ()
    if kind in (PARAMS, GET_VALUES, GET_VALUES_RESULT) and content:
        try:
            pairs = decode_pairs(content)
        except ProtocolError:  # a pair is split across records of the stream
            return f"{len(content)} B", ()
        return f"{len(pairs)} pairs, {len(content)} B", tuple(pairs.items())
    if kind in (PARAMS, STDIN, STDOUT, STDERR) and not content:
        return "end", ()
    if kind == STDOUT:
        head, _, body = content.partition(b"\r\n\r\n")
        if b":" in head and body:
            return f"{len(content)} B: {_text(head)}", ()
    return f"{len(content)} B", ()


Head = tuple[str, str, Fields, int | None, bool]
"""Name, text, fields, content length (None: until the end), chunked."""


def _http(data: bytes, read_head: Callable[[bytes], Head]) -> Iterator[Found]:
    at = 0
    while at < len(data):
        end = data.find(b"\r\n\r\n", at) + 4
        try:
            if end < 4:
                break
            name, text, fields, length, chunked = read_head(data[at:end])
            pairs = tuple((key.decode("latin-1"), value.decode("latin-1")) for key, value in fields)
            yield Found("http", name, text, at, end - at, pairs)
            at = end
            used = _content_length(data, at, length, chunked)
        except RemoteProtocolError:
            break
        if used:
            kind = "request body" if name == "request" else "response body"
            yield Found("http", kind, f"{used} B{', chunked' if chunked else ''}", at, used)
            at += used
    if at < len(data):
        yield _rest(data, at)


def _content_length(data: bytes, at: int, length: int | None, chunked: bool) -> int:
    """Return the length of the content at `at`, including chunk framing."""
    rest = data[at:]
    if not chunked:
        if length is None:
            return len(rest)
        return LengthReader(length).take(rest)[1] if length else 0
    reader, used, finished = ChunkedReader(_LIMITS), 0, False
    while not finished and used < len(rest):
        _, taken, finished = reader.take(rest[used:])
        if not taken:
            break
        used += taken
    return used


def _request_head(head: bytes) -> Head:
    request = parse_request(head, _LIMITS)
    text = f"{request.method.decode()} {request.target.decode()} HTTP/1.{request.minor}"
    return "request", text, request.fields, request.content_length or 0, request.chunked


def _response_head(head: bytes) -> Head:
    response = parse_response(head, _LIMITS)
    text = f"HTTP/1.{response.minor} {response.status} {response.reason.decode('latin-1')}".strip()
    length = 0 if response.bodyless else response.content_length
    return "response", text, response.fields, length, response.chunked


def _rest(data: bytes, at: int) -> Found:
    return Found("bytes", "bytes", f"{len(data) - at} B", at, len(data) - at)


def _text(head: bytes) -> str:
    return head.split(b"\r\n")[0].decode("latin-1")
