"""php-fpm beside the Python application: the same bytes for the same request, through FastCGI.

Each request of the table goes to both, as a web server would send it; status, fields and body
must be equal. Where php-fpm is missing the table is skipped and says so.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from chainlab.transport import Address
from servers.php.php_fpm import INDEX, READY, find_php_fpm, make_command, write_config
from tests.support.fastcgi import Answer, Client, encode_params, make_params
from tests.support.processes import Process, is_alive, wait_until

PHP_FPM = find_php_fpm()
needs_php_fpm = pytest.mark.skipif(
    PHP_FPM is None, reason="php-fpm is not installed: apt-get install php8.2-fpm"
)

LIMIT = 300_000
MTIME = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT
TAG = f'"{MTIME:x}-19000"'
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


class Sides:
    """A connection to each of the two."""

    def __init__(self, ours: Client, php: Client) -> None:
        self._ours = ours
        self._php = php

    def ask(
        self, path: str, method: str = "GET", body: bytes = b"", **more: str
    ) -> tuple[Answer, Answer]:
        more["SCRIPT_FILENAME"] = str(INDEX)
        ours = self._ours.request(path, method, body, keep_conn=True, **more)
        return ours, self._php.request(path, method, body, keep_conn=True, **more)


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Address, Address]]:
    """Both servers on the same public folder, with the same small limit of content."""
    folder = tmp_path_factory.mktemp("php")
    public = folder / "public"
    public.mkdir()
    for name in ("pattern.bin", "a.html", "b.JSON", "svg", "na\xefve.txt"):
        (public / name).write_bytes(bytes(range(256)) * 400)
        os.utime(public / name, (MTIME, MTIME))
    (public / "empty.txt").touch()
    (public / "folder").mkdir()
    (public / "link.txt").symlink_to("pattern.bin")
    environment = {"CHAINLAB_PUBLIC": str(public), "CHAINLAB_BODY_LIMIT": str(LIMIT)}
    php_address = Address(path=str(folder / "php.sock"))
    assert PHP_FPM is not None
    command = make_command(PHP_FPM, write_config(folder, php_address, 2))
    ours = [sys.executable, "-m", "fcgi_worker", "servers.app.wsgi:application", "--workers", "1"]
    with (
        Process(command, environment=environment) as php,
        Process([*ours, "--bind", f"unix:{folder}/ours.sock"], environment=environment) as worker,
    ):
        php.wait_for_stderr(READY)
        yield worker.wait_until_listening(), php_address


@pytest.fixture
def sides(addresses: tuple[Address, Address]) -> Iterator[Sides]:
    with Client(addresses[0]) as ours, Client(addresses[1]) as php:
        yield Sides(ours, php)


def assert_same(ours: Answer, php: Answer) -> None:
    assert php.end is not None
    assert php.stderr == b""
    mine = {name: value for name, value in ours.headers.items() if name != "status"}
    theirs = {name: value for name, value in php.headers.items() if name != "status"}
    if "x-accel-buffering" in theirs:
        mine.pop("content-length", None)  # a server may know by itself that a stream was empty
    assert (php.status, theirs, php.body) == (ours.status, mine, ours.body)


TARGETS = [
    "/hello", "/hello?x=1", "/%68ello", "/%2568ello", "/", "/nothing", "/hello/", "/Hello",
    "/json", "/wait?ms=0", "/wait?ms=%31", "/wait?a=&ms=0002", "/wait?ms=1&ms=1", "/wait",
    "/wait?ms", "/wait?ms=-1", "/wait?ms=+1", "/wait?ms=1.0", "/wait?ms=60001", "/wait?MS=1",
    "/wait?ms=%D9%A1", "/wait?ms=x%00", "/wait?ms=99999999999999999999999", "/wait?&&ms=1&",
    "/wait?%6Ds=1", "/wait?ms=%3", "/wait?ms=%zz", "/wait?ms[]=1",
    "/cpu?n=1", "/cpu?n=1000", "/cpu?n=0", "/cpu?n=1000001", "/cpu",
    "/bytes?n=0", "/bytes?n=1", "/bytes?n=65535", "/bytes?n=65536", "/bytes?n=200001",
    "/bytes?n=67108865", "/bytes", "/stream?n=0&ms=0", "/stream?n=3&ms=1", "/stream?n=3",
    "/stream?ms=3", "/stream", "/stream?n=100001&ms=0", "/stream?n=5&ms=60001", "/echo",
    "/file", "/file/", "/file/pattern.bin", "/file/a.html", "/file/b.JSON", "/file/svg",
    "/file/empty.txt", "/file/pattern%2ebin", "/file/na%C3%AFve.txt", "/file/nothing",
    "/file/folder", "/file/link.txt", "/file/..", "/file/.", "/file/../php.sock",
    "/file/%2e%2e%2fphp-fpm.conf", "/file/%2Fetc%2Fpasswd", "/file//etc/passwd",
    "/file/pattern.bin%00", "/file/pattern.bin/", "/file/%ff", "/file/folder/..",
]  # fmt: skip


@needs_php_fpm
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_same_answers(sides: Sides, method: str) -> None:
    for target in TARGETS:
        path, _, query = target.partition("?")
        ours, php = sides.ask(
            target, method, PATH_INFO=unquote(path, "latin-1"), QUERY_STRING=query
        )
        try:
            assert_same(ours, php)
        except AssertionError as error:
            raise AssertionError(f"{method} {target}: {error}") from None


FIELDS: list[dict[str, str]] = [
    {"RANGE": "bytes=0-0"},
    {"RANGE": "bytes=100-65999"},
    {"RANGE": "bytes=102399-"},
    {"RANGE": "bytes=102400-"},
    {"RANGE": "bytes=-5"},
    {"RANGE": "bytes=-0"},
    {"RANGE": "bytes=-999999999999999999999"},
    {"RANGE": "bytes=5-999999999999999999999"},
    {"RANGE": "bytes=999999999999999999999-"},
    {"RANGE": "bytes=0005-0006"},
    {"RANGE": "Bytes= 5-6 "},
    {"RANGE": "bytes=0-1,5-6"},
    {"RANGE": "bytes=5-4"},
    {"RANGE": "bytes=-"},
    {"RANGE": "lines=1-2"},
    {"RANGE": ""},
    {"RANGE": "bytes=5-6", "IF_RANGE": TAG},
    {"RANGE": "bytes=5-6", "IF_RANGE": "W/" + TAG},
    {"RANGE": "bytes=5-6", "IF_RANGE": DATE},
    {"RANGE": "bytes=5-6", "IF_RANGE": "Sun, 06 Nov 1994 08:49:38 GMT"},
    {"IF_NONE_MATCH": TAG},
    {"IF_NONE_MATCH": "W/" + TAG},
    {"IF_NONE_MATCH": '"a,b", ' + TAG},
    {"IF_NONE_MATCH": " *"},
    {"IF_NONE_MATCH": '"other"'},
    {"IF_NONE_MATCH": '"other"', "IF_MODIFIED_SINCE": DATE},
    {"IF_MODIFIED_SINCE": DATE},
    {"IF_MODIFIED_SINCE": "Sunday, 06-Nov-94 08:49:37 GMT"},
    {"IF_MODIFIED_SINCE": "Sun Nov  6 08:49:37 1994"},
    {"IF_MODIFIED_SINCE": "Sun Nov  6 08:49:36 1994"},
    {"IF_MODIFIED_SINCE": "Mon, 31 Nov 1995 08:49:37 GMT"},
    {"IF_MODIFIED_SINCE": "Sun, 06 Nov 1969 08:49:37 GMT"},
    {"IF_MODIFIED_SINCE": "tomorrow"},
]


@needs_php_fpm
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_same_validators_and_ranges(sides: Sides, method: str) -> None:
    for fields in FIELDS:
        more = {"HTTP_" + name: value for name, value in fields.items()}
        ours, php = sides.ask("/file/pattern.bin", method, b"", **more)
        try:
            assert_same(ours, php)
        except AssertionError as error:
            raise AssertionError(f"{method} with {fields}: {error}") from None


@needs_php_fpm
@pytest.mark.parametrize("size", [0, 1, 65536, 250_000, LIMIT])
@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data; boundary=x"])
def test_same_echo(sides: Sides, size: int, kind: str) -> None:
    body = os.urandom(size)
    more = {"CONTENT_TYPE": kind, "CONTENT_LENGTH": str(size)}
    ours, php = sides.ask("/echo", "POST", body, **more)
    assert_same(ours, php)
    assert php.body == body


@needs_php_fpm
def test_same_limit(sides: Sides) -> None:
    ours, php = sides.ask("/echo", "POST", bytes(LIMIT + 1))
    assert_same(ours, php)
    assert php.status == 413
    assert php.body == b"the content is too large: send at most 300000 bytes\n"


@needs_php_fpm
def test_what_is_too_large_is_refused_before_it_comes(addresses: tuple[Address, Address]) -> None:
    for address in addresses:
        with Client(address) as client:
            length = str(LIMIT + 1)
            client.start("/echo", "POST", None, CONTENT_LENGTH=length, SCRIPT_FILENAME=str(INDEX))
            client.read_until_stdout(b"send at most 300000 bytes\n")


@needs_php_fpm
def test_same_whoami(sides: Sides) -> None:
    more = {
        "HTTP_X_BYTES": "caf\xe9/\x7f",
        "HTTP_PROXY": "evil",
        "HTTP_ACCEPT": 'a"b\\c',
        "CONTENT_TYPE": "x/y",
    }
    ours, php = (json.loads(answer.body) for answer in sides.ask("/whoami", "GET", b"", **more))
    assert list(php) == list(ours)
    assert list(php["headers"].items()) == list(ours["headers"].items())
    assert php["headers"]["x-bytes"] == "caf\xe9/\x7f"
    assert (php["http_version"], php["client"]) == (ours["http_version"], ours["client"])
    assert php["architecture"] == "php-fpm"
    assert is_alive(php["pid"])
    assert php["thread"] == php["pid"]
    again = json.loads(sides.ask("/whoami")[1].body)
    assert (again["pid"], again["requests"]) == (php["pid"], php["requests"] + 1)


@needs_php_fpm
def test_no_headers_are_an_object(sides: Sides) -> None:
    _, php = sides.ask("/whoami", HTTP_HOST="x")
    assert b'"headers":{"host":"x"}' in php.body


@needs_php_fpm
def test_stream_comes_as_it_comes(addresses: tuple[Address, Address]) -> None:
    with Client(addresses[1]) as client:
        client.start("/stream?n=2&ms=200", SCRIPT_FILENAME=str(INDEX))
        assert b"line 2\n" not in client.read_until_stdout(b"line 1\n")
        client.read_until_stdout(b"line 2\n")


@needs_php_fpm
def test_a_failure_is_told_to_the_log_alone(tmp_path: Path) -> None:
    """The script fails on a request without the REQUEST_URI that it needs."""
    address = Address(path=str(tmp_path / "s"))
    assert PHP_FPM is not None
    with Process(make_command(PHP_FPM, write_config(tmp_path, address, 1))) as php:
        php.wait_for_stderr(READY)
        with Client(address) as client:
            params = make_params(SCRIPT_FILENAME=str(INDEX))
            del params["REQUEST_URI"]
            client.send(client.protocol.begin(encode_params(params), keep_conn=True, body=b""))
            answer = client.finish()
        assert (answer.status, answer.headers["content-type"]) == (500, "text/plain")
        assert answer.body == b"the application failed: its log says why\n"
        assert b"TypeError" in answer.stderr


@needs_php_fpm
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_stop(tmp_path: Path, number: signal.Signals) -> None:
    address = Address(path=str(tmp_path / "s"))
    assert PHP_FPM is not None
    with Process(make_command(PHP_FPM, write_config(tmp_path, address, 3))) as php:
        php.wait_for_stderr(READY)
        wait_until(lambda: len(php.children) == 3, "three children are there")
        children = php.children
        php.signal(number)
        assert php.wait() == 0
        wait_until(lambda: not any(map(is_alive, children)), "the children are gone")


def test_config(tmp_path: Path) -> None:
    config = write_config(tmp_path, Address(host="::1", port=9000), 7)
    assert config.parent == tmp_path
    text = config.read_text()
    for line in (
        "daemonize = no", "listen = [::1]:9000", "pm = static", "pm.max_children = 7",
        "clear_env = no", "catch_workers_output = yes", "php_admin_value[post_max_size] = 64M",
    ):  # fmt: skip
        assert line in text.splitlines()
    with pytest.raises(ValueError, match="a port other than 0"):
        write_config(tmp_path, Address(host="127.0.0.1"), 1)


def test_find_php_fpm_looks_where_root_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_php_fpm() == PHP_FPM
