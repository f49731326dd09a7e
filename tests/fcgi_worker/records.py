"""Raw FastCGI records, as a web server would write and read them."""

from chainlab.wire.fastcgi.records import (
    BEGIN_BODY,
    BEGIN_REQUEST,
    HEADER,
    HEADER_LENGTH,
    PARAMS,
    RESPONDER,
    STDIN,
    encode_record,
    encode_stream,
)
from tests.support.fastcgi import Client, encode_params, make_params

PARAMETERS = encode_params(make_params("/hello"))


def read_records(client: Client, last_type: int) -> list[tuple[int, int, bytes]]:
    """Read raw records up to one of `last_type`: type, request id, content."""
    records: list[tuple[int, int, bytes]] = []
    with client.socket.makefile("rb") as stream:
        while not records or records[-1][0] != last_type:
            header = stream.read(HEADER_LENGTH)
            assert len(header) == HEADER_LENGTH, f"closed after {records}"
            version, record_type, request_id, length, padding = HEADER.unpack(header)
            assert version == 1
            assert (length + padding) % 8 == 0
            records.append((record_type, request_id, stream.read(length)))
            stream.read(padding)
    return records


def begin(request_id: int, role: int = RESPONDER, flags: int = 1) -> bytes:
    return encode_record(BEGIN_REQUEST, request_id, BEGIN_BODY.pack(role, flags))


def whole_request(request_id: int) -> bytes:
    params = encode_stream(PARAMS, request_id, PARAMETERS) + encode_record(PARAMS, request_id)
    return begin(request_id) + params + encode_record(STDIN, request_id)
