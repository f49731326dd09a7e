"""The contract as checks that run against any address: a server, or a gateway in front of it.

Each check is the rule of the same name in CONTRACT.md. It sends real requests and raises
AssertionError with the request, the answer and the expected answer. The lab compares and measures
only chains that pass all checks. The checks use only http.client and sockets, so that they share no
bug with the code they check.

    python -m servers.app.contract http://127.0.0.1:8080 [--quick]

They leave open what a gateway decides: Date, Server, reason phrases, and its own answers to
targets and lengths that it refuses before the application sees them.
"""

import hashlib
import http.client
import json
import random
import re
import select
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

TIMEOUT: Final = 30.0
"""Seconds without data after which an answer counts as missing."""

LIMIT: Final = 64 << 20
PATTERN: Final = bytes(range(256))
_PATTERN_FILE: Final = PATTERN * 400  # public/pattern.bin
_EARLY: Final = 0.002  # seconds that clocks of two processes may differ over a wait


@dataclass(frozen=True, slots=True)
class Check:
    """One rule: `run` takes the base URL and raises AssertionError (or OSError) if it is broken."""

    name: str
    run: Callable[[str], None]
    quick: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """A broken rule, with the message of the failed check."""

    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response read to its end."""

    asked: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def expect(self, status: int, body: bytes | None = None, **headers: str | None) -> None:
        """Compare; an underscore in a field name means a hyphen, None means an absent field."""
        got = f"{self.asked}: status {self.status}, body {_shown(self.body)}"
        assert self.status == status, f"{got}; expected status {status}"
        for key, wanted in headers.items():
            name = key.replace("_", "-")
            value = self.headers.get(name)
            assert value == wanted, f"{got}; {name} is {value!r}, expected {wanted!r}"
        if body is not None:
            assert self.body == body, f"{got}; expected body {_shown(body)}"

    def field(self, name: str) -> str:
        """Return a field; AssertionError if it is missing."""
        assert name in self.headers, f"{self.asked}: status {self.status}, without {name}"
        return self.headers[name]


_CHECKS: Final[list[Check]] = []


def checks(quick: bool = False) -> list[Check]:
    """Return the checks in the order of CONTRACT.md; `quick` leaves out the large and slow."""
    return [check for check in _CHECKS if check.quick or not quick]


# Other exceptions of a check whose answer has an unexpected form.
_BROKEN: Final = (OSError, http.client.HTTPException, ValueError, LookupError, TypeError)


def verify(base_url: str, quick: bool = False) -> list[Failure]:
    """Run the checks against `base_url` (http://HOST:PORT); an empty list means that all hold."""
    failures = []
    for check in checks(quick):
        try:
            check.run(base_url)
        except AssertionError as error:
            failures.append(Failure(check.name, str(error)))
        except _BROKEN as error:
            failures.append(Failure(check.name, f"{type(error).__name__}: {error}"))
    return failures


def _check(name: str, quick: bool = True) -> Callable[[Callable[[str], None]], None]:
    def register(run: Callable[[str], None]) -> None:
        _CHECKS.append(Check(name, run, quick))

    return register


# Asking


def _shown(data: bytes) -> str:
    return repr(data) if len(data) <= 80 else f"{data[:40]!r}... ({len(data)} bytes)"


def _connect(base_url: str) -> http.client.HTTPConnection:
    url = urlsplit(base_url)
    if url.scheme != "http" or not url.hostname or url.path.strip("/"):
        raise ValueError(f"{base_url!r} is not http://HOST:PORT")
    return http.client.HTTPConnection(url.hostname, url.port or 80, timeout=TIMEOUT)


def _read(asked: str, response: http.client.HTTPResponse) -> Answer:
    body = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(asked, response.status, headers, body)


def fetch(
    base_url: str,
    target: str,
    method: str = "GET",
    body: bytes | Iterable[bytes] | None = None,
    fields: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request on a new connection; an iterable body is sent in chunks."""
    connection = _connect(base_url)
    try:
        connection.request(method, target, body, fields or {})
        return _read(f"{method} {target}", connection.getresponse())
    finally:
        connection.close()


def _send_raw(base_url: str, head: bytes, filler: int = 0) -> Answer:
    """Send a head as it is and read the answer; after a second without one, send zero bytes."""
    url = urlsplit(base_url)
    with socket.create_connection((url.hostname, url.port or 80), TIMEOUT) as connection:
        connection.sendall(head)
        try:
            while filler > 0 and not select.select([connection], [], [], 1.0)[0]:
                connection.sendall(bytes(min(filler, 8 << 20)))
                filler -= 8 << 20
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused meanwhile; the answer is still to be read
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            return _read(repr(head.partition(b"\r\n")[0]), response)


# The rules


@_check("hello")
def _hello(url: str) -> None:
    wanted = b"Hello, world!\n"
    for target in ("/hello", "/hello?", "/hello?anything=1"):
        fetch(url, target).expect(200, wanted, content_type="text/plain", content_length="14")


@_check("json")
def _json(url: str) -> None:
    wanted = b'{"message":"Hello, world!"}'
    fetch(url, "/json").expect(200, wanted, content_type="application/json", content_length="27")


@_check("head")
def _head(url: str) -> None:
    for target in (
        "/hello", "/json", "/wait?ms=1", "/cpu?n=1", "/bytes?n=100000", "/file/pattern.bin",
    ):  # fmt: skip
        got = fetch(url, target)
        fields = ("content-type", "content-length", "etag", "last-modified", "accept-ranges")
        same = {field.replace("-", "_"): got.headers.get(field) for field in fields}
        fetch(url, target, "HEAD").expect(got.status, b"", **same)
    fetch(url, "/stream?n=3&ms=1000", "HEAD").expect(200, b"", content_type="text/plain")
    fetch(url, "/nothing", "HEAD").expect(404, b"")


@_check("not-found")
def _not_found(url: str) -> None:
    wanted = b"no such path: the routes are in servers/app/CONTRACT.md\n"
    for target in ("/", "/nothing", "/hello/", "/hello/x", "/Hello", "/file", "/file/"):
        fetch(url, target).expect(404, wanted, content_type="text/plain")
    fetch(url, "/nothing", "POST", b"x").expect(404, wanted)


@_check("method-not-allowed")
def _method_not_allowed(url: str) -> None:
    paths = ["/hello", "/json", "/wait", "/cpu", "/bytes", "/file/hello.txt", "/stream", "/whoami"]
    for path in paths:
        for method in ("POST", "PUT", "DELETE"):
            wanted = b"this path takes GET, HEAD only\n"
            fetch(url, path, method, b"").expect(405, wanted, allow="GET, HEAD")
    for method in ("GET", "PUT"):
        fetch(url, "/echo", method).expect(405, b"this path takes POST only\n", allow="POST")


_PARAMETERS: Final = (
    ("/wait?{}", "ms", "from 0 to 60000"),
    ("/cpu?{}", "n", "from 1 to 1000000"),
    ("/bytes?{}", "n", "from 0 to 67108864"),
    ("/stream?ms=0&{}", "n", "from 0 to 100000"),
    ("/stream?n=1&{}", "ms", "from 0 to 60000"),
)


@_check("parameters")
def _parameters(url: str) -> None:
    for target, name, span in _PARAMETERS:
        remedy = f"give a whole number {span}"
        beyond = str(int(span.split()[-1]) + 1)
        cases = (
            ("", f"{name} is missing: {remedy}"),
            (f"{name.upper()}=1", f"{name} is missing: {remedy}"),
            (f"{name}=1&{name}=1", f"{name} is given more than once: {remedy}, once"),
            (f"{name}", f"{name} is not a number: {remedy}"),
            (f"{name}=", f"{name} is not a number: {remedy}"),
            (f"{name}=-1", f"{name} is not a number: {remedy}"),
            (f"{name}=+1", f"{name} is not a number: {remedy}"),
            (f"{name}=1.5", f"{name} is not a number: {remedy}"),
            (f"{name}=1e3", f"{name} is not a number: {remedy}"),
            (f"{name}=x%00", f"{name} is not a number: {remedy}"),
            (f"{name}=%D9%A1", f"{name} is not a number: {remedy}"),  # an Arabic one
            (f"{name}={beyond}", f"{name} is out of range: {remedy}"),
            (f"{name}=99999999999999999999", f"{name} is out of range: {remedy}"),
        )
        for query, line in cases:
            answer = fetch(url, target.format(query))
            answer.expect(400, line.encode() + b"\n", content_type="text/plain")
    fetch(url, "/cpu?n=0").expect(
        400, b"n is out of range: give a whole number from 1 to 1000000\n"
    )


@_check("percent-encoding")
def _percent_encoding(url: str) -> None:
    fetch(url, "/%68ell%6F").expect(200, b"Hello, world!\n")
    fetch(url, "/wait?%6Ds=%31").expect(200, b"waited 1 ms\n")
    fetch(url, "/wait?other=%26ms=5&ms=0002").expect(200, b"waited 2 ms\n")
    fetch(url, "/file/hello%2etxt").expect(200, b"Hello, file!\n")
    fetch(url, "/%2568ello").expect(404)  # decoded once


@_check("wait")
def _wait(url: str) -> None:
    for milliseconds in (0, 1, 150):
        begin = time.monotonic()
        answer = fetch(url, f"/wait?ms={milliseconds}")
        taken = time.monotonic() - begin
        answer.expect(200, b"waited %d ms\n" % milliseconds, content_type="text/plain")
        early = f"GET /wait?ms={milliseconds} was answered after {taken * 1000:.1f} ms"
        assert taken >= milliseconds / 1000 - _EARLY, early


@_check("cpu")
def _cpu(url: str) -> None:
    digest = b""
    for rounds in range(1, 1001):
        digest = hashlib.sha256(digest).digest()
        if rounds in (1, 2, 1000):
            answer = fetch(url, f"/cpu?n={rounds}")
            wanted = digest.hex().encode() + b"\n"
            answer.expect(200, wanted, content_type="text/plain", content_length="65")


@_check("bytes")
def _bytes(url: str) -> None:
    for count in (0, 1, 255, 256, 257, 65536, 65537, 200_000):
        _expect_bytes(url, count)


@_check("bytes-large", quick=False)
def _bytes_large(url: str) -> None:
    _expect_bytes(url, 5_000_001)


def _expect_bytes(url: str, count: int) -> None:
    wanted = (PATTERN * (count // 256 + 1))[:count]
    kind = "application/octet-stream"
    answer = fetch(url, f"/bytes?n={count}")
    answer.expect(200, wanted, content_type=kind, content_length=str(count))


@_check("file")
def _file(url: str) -> None:
    answer = fetch(url, "/file/pattern.bin")
    kind = "application/octet-stream"
    answer.expect(200, _PATTERN_FILE, content_type=kind, content_length="102400")
    answer.expect(200, accept_ranges="bytes", content_range=None)
    tag, modified = answer.field("etag"), answer.field("last-modified")
    assert re.fullmatch(r'"[0-9a-f]+-19000"', tag), f"ETag is {tag!r}, not mtime-size in hex"
    date = r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"
    assert re.fullmatch(date, modified), f"Last-Modified is {modified!r}, not an HTTP date"
    fetch(url, "/file/hello.txt").expect(200, b"Hello, file!\n", content_type="text/plain")
    fetch(url, "/file/index.html").expect(200, content_type="text/html")
    fetch(url, "/file/pixel.svg").expect(200, content_type="image/svg+xml")
    wanted = b"no such file: /file/ has hello.txt, index.html, pattern.bin, pixel.svg\n"
    fetch(url, "/file/nothing.txt").expect(404, wanted, content_type="text/plain")


@_check("file-not-modified")
def _file_not_modified(url: str) -> None:
    target = "/file/hello.txt"
    whole = fetch(url, target)
    tag, modified = whole.field("etag"), whole.field("last-modified")
    unchanged: tuple[dict[str, str], ...] = (
        {"If-None-Match": tag},
        {"If-None-Match": f"W/{tag}"},
        {"If-None-Match": f'"other", {tag}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": modified},
        {"If-Modified-Since": "Fri, 31 Dec 9999 23:59:59 GMT"},
        {"If-None-Match": tag, "If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    )
    for fields in unchanged:
        answer = fetch(url, target, fields=fields)
        answer.expect(304, b"", etag=tag, last_modified=modified, content_type=None)
    changed: tuple[dict[str, str], ...] = (
        {"If-None-Match": '"other"'},
        {"If-None-Match": '"other"', "If-Modified-Since": modified},
        {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"If-Modified-Since": "Thursday, 01-Jan-70 00:00:00 GMT"},
        {"If-Modified-Since": "Thu Jan  1 00:00:00 1970"},
        {"If-Modified-Since": "yesterday"},
    )
    for fields in changed:
        fetch(url, target, fields=fields).expect(200, b"Hello, file!\n", etag=tag)


@_check("file-range")
def _file_range(url: str) -> None:
    size = len(_PATTERN_FILE)
    spans = (
        ("bytes=0-0", 0, 0),
        ("bytes=1000-1999", 1000, 1999),
        ("bytes=102399-", 102399, 102399),
        ("bytes=100000-999999", 100000, 102399),
        ("bytes=-5", 102395, 102399),
        ("bytes=-999999", 0, 102399),
        ("bytes=0-99999999999999999999", 0, 102399),
    )
    for asked, first, last in spans:
        answer = fetch(url, "/file/pattern.bin", fields={"Range": asked})
        span = f"bytes {first}-{last}/{size}"
        length = str(last - first + 1)
        answer.expect(206, _PATTERN_FILE[first : last + 1], content_range=span)
        answer.expect(206, content_length=length, content_type="application/octet-stream")
    for asked in (
        "bytes=102400-",
        "bytes=102400-102401",
        "bytes=-0",
        "bytes=99999999999999999999-",
    ):
        answer = fetch(url, "/file/pattern.bin", fields={"Range": asked})
        wanted = b"the range begins beyond the file: it has 102400 bytes\n"
        answer.expect(416, wanted, content_range=f"bytes */{size}", content_type="text/plain")
    for asked in ("bytes=0-1,5-6", "bytes=5-1", "bytes=-", "bytes=x-1", "lines=0-1", "bytes"):
        answer = fetch(url, "/file/pattern.bin", fields={"Range": asked})
        answer.expect(200, _PATTERN_FILE, content_range=None)
    fetch(url, "/file/pattern.bin", "HEAD", fields={"Range": "bytes=0-0"}).expect(
        200, content_length="102400"
    )


@_check("file-if-range")
def _file_if_range(url: str) -> None:
    whole = fetch(url, "/file/hello.txt")
    tag, modified = whole.field("etag"), whole.field("last-modified")
    for condition in (tag, modified):
        fields = {"Range": "bytes=0-4", "If-Range": condition}
        part = fetch(url, "/file/hello.txt", fields=fields)
        part.expect(206, b"Hello")
    for condition in ('"other"', f"W/{tag}", "Thu, 01 Jan 1970 00:00:00 GMT"):
        fields = {"Range": "bytes=0-4", "If-Range": condition}
        part = fetch(url, "/file/hello.txt", fields=fields)
        part.expect(200, b"Hello, file!\n")


@_check("file-confined")
def _file_confined(url: str) -> None:
    for target in (
        "/file/../routes.py",
        "/file/..",
        "/file/.",
        "/file/../../../../../../../../etc/passwd",
        "/file/%2e%2e/routes.py",
        "/file/%2e%2e%2froutes.py",
        "/file/..%2froutes.py",
        "/file/..%5croutes.py",
        "/file/%252e%252e%252froutes.py",
        "/file//etc/passwd",
        "/file/%2fetc%2fpasswd",
        "/file/hello.txt%00",
        "/file/hello.txt%00.html",
        "/file/hello.txt/",
        "/file/./hello.txt/..",
        "/file/" + "a" * 300,
        "/file/%ff%fe",
    ):
        head = f"GET {target} HTTP/1.1\r\nHost: contract\r\nConnection: close\r\n\r\n"
        answer = _send_raw(url, head.encode())
        got = f"GET {target[:60]}: status {answer.status}, body {_shown(answer.body)}"
        assert answer.status in (400, 403, 404), f"{got}; expected 404 (or a gateway's 400, 403)"


_TEST_TYPE: Final = {"Content-Type": "application/x-test"}


@_check("echo")
def _echo(url: str) -> None:
    for body in (b"x", PATTERN, b"\r\n\r\n0\r\n\r\n", PATTERN * 1024):
        answer = fetch(url, "/echo", "POST", body, fields=_TEST_TYPE)
        answer.expect(200, body, content_type="application/x-test", content_length=str(len(body)))
    kind = 'text/plain; charset="utf-8"'
    fetch(url, "/echo", "POST", b"x", fields={"Content-Type": kind}).expect(
        200, b"x", content_type=kind
    )
    empty = fetch(url, "/echo", "POST", b"")
    empty.expect(200, b"", content_length="0", content_type="application/octet-stream")


@_check("echo-chunked")
def _echo_chunked(url: str) -> None:
    for pieces in ([b"one ", b"two ", b"three"], [PATTERN * 16] * 20, [b"x"] * 50):
        body = b"".join(pieces)
        answer = fetch(url, "/echo", "POST", iter(pieces), fields=_TEST_TYPE)
        answer.expect(200, body, content_type="application/x-test", content_length=str(len(body)))
    fetch(url, "/echo", "POST", iter(())).expect(200, b"", content_length="0")


@_check("echo-large", quick=False)
def _echo_large(url: str) -> None:
    body = random.Random(5).randbytes(5_000_000)
    fetch(url, "/echo", "POST", body).expect(200, body, content_length="5000000")
    pieces = (body[at : at + 100_000] for at in range(0, len(body), 100_000))
    fetch(url, "/echo", "POST", pieces).expect(200, body, content_length="5000000")


@_check("content-too-large", quick=False)
def _content_too_large(url: str) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: contract\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1)
    answer = _send_raw(url, head, LIMIT + 1)
    got = f"POST /echo with {LIMIT + 1} bytes: status {answer.status}"
    assert answer.status == 413, f"{got}; expected 413"


@_check("stream")
def _stream(url: str) -> None:
    for count in (0, 1, 3, 1000):
        wanted = b"".join(b"line %d\n" % number for number in range(1, count + 1))
        fetch(url, f"/stream?n={count}&ms=0").expect(200, wanted, content_type="text/plain")


@_check("stream-as-it-comes")
def _stream_as_it_comes(url: str) -> None:
    count, milliseconds = 5, 100
    spread = milliseconds * (count - 1) / 1000
    times: list[float] = []
    # A machine that stalls may deliver lines together; a server that gathers always does.
    for _ in range(3):
        times = _arrivals(url, f"/stream?n={count}&ms={milliseconds}", count)
        if times[-1] - times[0] >= spread / 2:
            break
    shown = ", ".join(f"{moment * 1000:.0f}" for moment in times)
    wanted = f"expected {spread * 1000:.0f} ms from first to last"
    assert times[-1] - times[0] >= spread / 2, f"the lines came after {shown} ms; {wanted}"
    assert times[-1] >= spread - _EARLY, f"the last line came after {shown} ms; {wanted}"


def _arrivals(url: str, target: str, count: int) -> list[float]:
    connection = _connect(url)
    begin = time.monotonic()
    times = []
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        for number in range(1, count + 1):
            line = response.readline()
            assert line == b"line %d\n" % number, f"GET {target}: line {number} is {line!r}"
            times.append(time.monotonic() - begin)
        rest = response.read()
        assert rest == b"", f"GET {target}: {_shown(rest)} after the last line"
    finally:
        connection.close()
    return times


_WHOAMI: Final[dict[str, type]] = {
    "architecture": str,
    "pid": int,
    "thread": int,
    "requests": int,
    "http_version": str,
    "client": str,
    "headers": dict,
}


@_check("whoami")
def _whoami(url: str) -> None:
    served: dict[int, int] = {}
    for _ in range(3):
        answer = fetch(url, "/whoami")
        answer.expect(200, content_type="application/json")
        who = json.loads(answer.body)
        got = f"GET /whoami: {answer.body!r}"
        kinds = {name: type(value) for name, value in who.items()}
        assert list(who) == list(_WHOAMI), f"{got}; expected the members {list(_WHOAMI)}"
        assert kinds == _WHOAMI, f"{got}; expected the types {_WHOAMI}"
        assert who["architecture"], f"{got}; expected a name"
        assert who["pid"] > 0, f"{got}; expected a process id"
        assert who["thread"] > 0, f"{got}; expected a thread id"
        assert re.fullmatch(r"HTTP/1\.[01]", who["http_version"]), f"{got}; expected HTTP/1.x"
        before = served.get(who["pid"], 0)
        assert who["requests"] > before, f"{got}; it had served {before} requests before"
        served[who["pid"]] = who["requests"]


@_check("whoami-headers")
def _whoami_headers(url: str) -> None:
    value = 'plain, "quoted"; q=0.5'
    answer = fetch(url, "/whoami", fields={"X-Contract-Check": value, "X-Bytes": "caf\xe9/"})
    headers = json.loads(answer.body)["headers"]
    for name, wanted in (("x-contract-check", value), ("x-bytes", "caf\xe9/")):
        got = headers.get(name)
        assert got == wanted, f"GET /whoami: header {name} is {got!r}, expected {wanted!r}"
    assert "host" in headers, f"GET /whoami: no host among {sorted(headers)}"
    assert list(headers) == sorted(headers), f"GET /whoami: headers not sorted: {list(headers)}"
    wrong = [name for name in headers if name != name.lower() or "_" in name]
    assert not wrong, f"GET /whoami: {wrong} are not lower-case names"


@_check("connection")
def _connection(url: str) -> None:
    """Two requests in a row: on one connection, unless the first answer says that it ends it."""
    connection = _connect(url)
    try:
        for target, wanted in (("/hello", b"Hello, world!\n"), ("/cpu?n=1", None), ("/x", None)):
            kept = connection.sock
            connection.request("GET", target)
            same = kept is None or connection.sock is kept
            answer = _read(f"GET {target}", connection.getresponse())
            assert same, f"GET {target}: the connection was not kept"
            answer.expect(404 if target == "/x" else 200, wanted)
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    """Check the address on the command line; return 1 when a rule does not hold."""
    quick = "--quick" in arguments
    addresses = [argument for argument in arguments if argument != "--quick"]
    if len(addresses) != 1:
        print("usage: python -m servers.app.contract http://HOST:PORT [--quick]", file=sys.stderr)
        return 2
    failures = verify(addresses[0], quick)
    for failure in failures:
        print(f"broken: {failure}")
    print(f"{len(checks(quick)) - len(failures)} of {len(checks(quick))} rules hold")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
