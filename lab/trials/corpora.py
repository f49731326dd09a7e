"""Valid messages of both protocols and both sides, from which the mutations are made."""

from typing import Final

from chainlab.wire.fastcgi import encode_pairs
from chainlab.wire.fastcgi.records import (
    BEGIN_BODY,
    BEGIN_REQUEST,
    END_BODY,
    END_REQUEST,
    GET_VALUES,
    GET_VALUES_RESULT,
    KEEP_CONN,
    PARAMS,
    RESPONDER,
    STDERR,
    STDIN,
    STDOUT,
    encode_record,
)  # fmt: skip

_BODY: Final = bytes(range(32, 127)) * 4

_HEAD: Final = b"Host: t\r\nUser-Agent: trial/1.0\r\nAccept: */*\r\nCookie: a=b; c=d\r\n"
REQUESTS: Final = (
    b"GET /hello HTTP/1.1\r\n" + _HEAD + b"\r\n",
    b"HEAD /json HTTP/1.1\r\n" + _HEAD + b"Connection: close\r\n\r\n",
    b"GET /file/small.txt HTTP/1.1\r\n" + _HEAD + b"Range: bytes=0-9,20-\r\n\r\n",
    b"POST /echo HTTP/1.1\r\n" + _HEAD + b"Content-Length: 380\r\n\r\n" + _BODY,
    b"POST /echo HTTP/1.1\r\n" + _HEAD + b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
    b"17c;name=value\r\n" + _BODY + b"\r\n5\r\nabcde\r\n0\r\nX: y\r\n\r\n",
    b"POST /echo HTTP/1.1\r\n" + _HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nabcde"
    b"GET /whoami HTTP/1.1\r\n" + _HEAD + b"\r\n",
    b"GET http://t/hello?a=%20b HTTP/1.0\r\n" + _HEAD + b"X-Long: " + b"v" * 2000 + b"\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
)


def _fastcgi(method: str, path: str, body: bytes = b"", flags: int = KEEP_CONN) -> bytes:
    params = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
        "SERVER_NAME": "t", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_URI": path, "CONTENT_LENGTH": str(len(body) or ""), "HTTP_COOKIE": "a=b",
        "HTTP_X_LONG": "v" * 300,
    }  # fmt: skip
    pieces = [
        encode_record(BEGIN_REQUEST, 1, BEGIN_BODY.pack(RESPONDER, flags)),
        encode_record(PARAMS, 1, encode_pairs((k.encode(), v.encode()) for k, v in params.items())),
        encode_record(PARAMS, 1),
        encode_record(STDIN, 1, body) if body else b"",
        encode_record(STDIN, 1),
    ]
    return b"".join(pieces)


QUESTIONS: Final = (
    _fastcgi("GET", "/hello"),
    _fastcgi("POST", "/echo", _BODY),
    _fastcgi("GET", "/json") + _fastcgi("POST", "/echo", b"abcde", flags=0),
    encode_record(
        GET_VALUES, 0, encode_pairs([(b"FCGI_MAX_CONNS", b""), (b"FCGI_MPXS_CONNS", b"")])
    )
    + _fastcgi("HEAD", "/hello", flags=0),
)

_CGI: Final = b"Status: 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\n"
_END: Final = encode_record(END_REQUEST, 1, END_BODY.pack(0, 0))
CGI_ANSWERS: Final = (
    encode_record(STDOUT, 1, _CGI + b"Content-Length: 380\r\n\r\n" + _BODY) + _END,
    encode_record(STDERR, 1, b"a complaint\n")
    + encode_record(STDOUT, 1, _CGI + b"\r\n")
    + encode_record(STDOUT, 1, _BODY)
    + encode_record(STDOUT, 1)
    + _END,
    encode_record(STDOUT, 1, b"Location: /elsewhere\r\n\r\n") + _END,
    encode_record(GET_VALUES_RESULT, 0, encode_pairs([(b"FCGI_MAX_CONNS", b"10")])) + _END,
)
HTTP_ANSWERS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 380\r\n\r\n" + _BODY,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nabcde\r\n17c\r\n"
    + _BODY
    + b"\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: close\r\nX-Long: " + b"v" * 2000 + b"\r\n\r\n" + _BODY,
)
