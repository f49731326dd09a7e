"""The WSGI adapter: every route under wsgiref.validate, waits, files, streams, its request."""

import io
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, cast
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from servers.app import files
from servers.app.messages import File
from servers.app.wsgi import EnvironHeaders, WsgiRequest, application

Environ = dict[str, Any]


def make_environ(target: str = "/hello", method: str = "GET", **more: object) -> Environ:
    path, _, query = target.partition("?")
    environ: Environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        **more,
    }
    setup_testing_defaults(environ)
    return environ


class Call:
    """One call of the application, as a server makes it."""

    def __init__(self, environ: Environ, valid: bool = True) -> None:
        self.status = ""
        self.headers: dict[str, str] = {}
        self.result = (validator(application) if valid else application)(environ, self.start)

    def start(
        self, status: str, headers: list[tuple[str, str]], _exc_info: object = None
    ) -> Callable[[bytes], object]:
        assert type(headers) is list
        self.status, self.headers = status, dict(headers)
        headers.clear()  # the list is the server's: nothing of the application's may be in it
        return lambda _data: None

    def finish(self) -> bytes:
        try:
            return b"".join(self.result)
        finally:
            self.close()

    def close(self) -> None:
        close = getattr(self.result, "close", None)
        if close:
            close()


def call(target: str, method: str = "GET", **more: object) -> tuple[str, dict[str, str], bytes]:
    made = Call(make_environ(target, method, **more))
    return made.status, made.headers, made.finish()


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        ("/hello", "GET", "200 OK"),
        ("/json", "GET", "200 OK"),
        ("/wait?ms=1", "GET", "200 OK"),
        ("/cpu?n=1", "GET", "200 OK"),
        ("/bytes?n=0", "GET", "200 OK"),
        ("/bytes?n=100000", "GET", "200 OK"),
        ("/stream?n=2&ms=1", "GET", "200 OK"),
        ("/whoami", "GET", "200 OK"),
        ("/file/hello.txt", "GET", "200 OK"),
        ("/file/nothing", "GET", "404 Not Found"),
        ("/nothing", "GET", "404 Not Found"),
        ("/hello", "POST", "405 Method Not Allowed"),
        ("/cpu", "GET", "400 Bad Request"),
        ("/wait", "GET", "400 Bad Request"),
    ],
)
def test_valid_and_head_says_the_same(target: str, method: str, status: str) -> None:
    got, headers, body = call(target, method)
    assert got == status
    if "Content-Length" in headers:
        assert headers["Content-Length"] == str(len(body))
    if method == "GET" and target != "/whoami":
        assert call(target, "HEAD") == (status, headers, b"")


def test_the_servers_list_is_not_ours() -> None:
    assert call("/hello") == call("/hello")


@pytest.mark.parametrize("size", [0, 5, 200_000])
def test_echo(size: int) -> None:
    body = os.urandom(size)
    stream = io.BytesIO(body + b"the next request")
    length = {"CONTENT_LENGTH": str(size), "CONTENT_TYPE": "x/y", "wsgi.input": stream}
    status, headers, got = call("/echo", "POST", **length)
    assert (status, headers["Content-Type"], got) == ("200 OK", "x/y", body)
    assert stream.read() == b"the next request"


def test_echo_of_content_with_an_end_of_its_own() -> None:
    stream = io.BytesIO(b"some chunks")
    more = {"CONTENT_LENGTH": "", "wsgi.input": stream, "wsgi.input_terminated": True}
    assert call("/echo", "POST", **more)[2] == b"some chunks"


def test_without_a_length_nothing_is_read() -> None:
    stream = io.BytesIO(b"the next request")
    assert call("/echo", "POST", **{"wsgi.input": stream})[2] == b""
    broken = make_environ("/echo", "POST", **{"wsgi.input": stream, "CONTENT_LENGTH": "x"})
    assert Call(broken, valid=False).finish() == b""
    assert stream.tell() == 0


def test_content_too_large() -> None:
    status, _, _ = call("/echo", "POST", CONTENT_LENGTH=str((64 << 20) + 1))
    assert status == "413 Content Too Large"


def test_wait_sleeps() -> None:
    begin = time.monotonic()
    call("/wait?ms=50")
    assert time.monotonic() - begin >= 0.05


def test_stream_comes_line_by_line() -> None:
    made = Call(make_environ("/stream?n=3&ms=60000"))
    assert made.status == "200 OK"
    assert next(iter(made.result)) == b"line 1\n"  # the head, and it, before any wait
    made.close()


def test_file_by_the_servers_wrapper() -> None:
    seen: list[File] = []

    class Wrapper(FileWrapper):
        def __init__(self, filelike: File, blksize: int) -> None:
            seen.append(filelike)
            super().__init__(cast(IO[bytes], filelike), blksize)

    environ = make_environ("/file/pattern.bin") | {"wsgi.file_wrapper": Wrapper}
    made = Call(environ, valid=False)
    assert isinstance(made.result, Wrapper)
    assert os.fstat(seen[0].fileno()).st_size == 102400
    assert made.finish() == bytes(range(256)) * 400
    assert seen[0].descriptor == -1


def test_a_range_keeps_clear_of_the_wrapper() -> None:
    def refuse(*_arguments: object) -> Iterable[bytes]:
        raise AssertionError("some wrappers send the whole descriptor")

    environ = make_environ("/file/pattern.bin", HTTP_RANGE="bytes=1-2")
    environ["wsgi.file_wrapper"] = refuse
    made = Call(environ)
    assert (made.status, made.finish()) == ("206 Partial Content", b"\x01\x02")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_is_closed_even_if_nothing_is_sent(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PUBLIC", Path(files.__file__).with_name("public"))
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - descriptors, not files
    Call(make_environ("/file/hello.txt", method)).close()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_the_path_is_put_together_again() -> None:
    for script, path in (("", "/hello"), ("/hello", ""), ("/he", "llo")):
        made = Call(make_environ(SCRIPT_NAME=script) | {"PATH_INFO": path}, valid=False)
        assert made.finish() == b"Hello, world!\n"


def test_headers() -> None:
    environ = make_environ(
        HTTP_X_TEST="1", HTTP_PROXY="evil", CONTENT_TYPE="x/y", CONTENT_LENGTH="", NOT_HTTP="x"
    )
    headers = EnvironHeaders(environ)
    assert dict(headers) == {"content-type": "x/y", "host": "127.0.0.1", "x-test": "1"}
    assert len(headers) == 3
    assert headers["X-Test"] == "1"
    for absent in ("proxy", "content-length", "not-http", "range"):
        assert absent not in headers


@pytest.mark.parametrize(
    ("environ", "variable", "name"),
    [
        ({"chainlab.architecture": "a", "SERVER_SOFTWARE": "c"}, "b", "a"),
        ({"SERVER_SOFTWARE": "c"}, "b", "b"),
        ({"SERVER_SOFTWARE": "c"}, "", "c"),
        ({}, "", "unknown"),
    ],
)
def test_architecture(
    environ: Environ, variable: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINLAB_ARCHITECTURE", variable)
    assert WsgiRequest({"REQUEST_METHOD": "GET", **environ}).architecture == name


def test_whoami() -> None:
    who = json.loads(call("/whoami", HTTP_X_BYTES="caf\xe9")[2])
    assert who["pid"] == os.getpid()
    assert who["client"] == "192.0.2.1"
    assert who["http_version"] == "HTTP/1.1"
    assert who["headers"] == {"host": "127.0.0.1", "x-bytes": "caf\xe9"}
