"""PEP 3333 clause by clause, through a real worker; and the same under wsgiref.validate."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainlab.transport import Address
from tests.fcgi_worker.conftest import APPS, ROOT
from tests.support.fastcgi import Client
from tests.support.processes import Process, running_worker, wait_until

PIECE = 65536


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Address]]:
    bind = f"unix:{tmp_path_factory.mktemp('validated')}/s"
    with running_worker(f"{APPS}:validated", "--workers", "1", bind=bind, cwd=ROOT) as worker:
        yield worker


# The environ


def test_the_environ(client: Client) -> None:
    told = json.loads(client.request("/show-environ?a=b", HTTP_X="1", HTTP_PROXY="evil").body)
    assert told["PATH_INFO"] == "/show-environ"
    assert told["QUERY_STRING"] == "a=b"
    assert told["HTTP_X"] == "1"
    assert "HTTP_PROXY" not in told
    assert told["wsgi.version"] == "(1, 0)"
    assert told["wsgi.url_scheme"] == "http"
    assert (told["wsgi.multithread"], told["wsgi.multiprocess"]) == ("False", "True")
    assert told["wsgi.run_once"] == "False"
    assert told["wsgi.input_terminated"] == "True"
    assert (
        json.loads(client.request("/show-environ", HTTPS="on").body)["wsgi.url_scheme"] == "https"
    )


@pytest.mark.parametrize(
    ("how", "result"),
    [
        ("read-all", b"ab\ncde\n\nf"),
        ("read-3", [b"ab\n", b"cde", b"\n\nf"]),
        ("read-0", b""),
        ("read-past-end", [b"ab\ncde\n\nf", b""]),
        ("readline", [b"ab\n", b"cde\n", b"\n", b"f"]),
        ("readline-2", [b"ab", b"\n", b"cd"]),
        ("readlines", [b"ab\n", b"cde\n", b"\n", b"f"]),
        ("iterate", [b"ab\n", b"cde\n", b"\n", b"f"]),
    ],
)
def test_reading_the_body(client: Client, how: str, result: object) -> None:
    body = b"ab\ncde\n\nf"
    assert client.request(f"/read?how={how}", "POST", body).body == repr(result).encode()
    client.start(f"/read?how={how}", "POST", None)  # the same as it drips in
    for at in range(len(body)):
        client.send(client.protocol.send_stdin(body[at : at + 1]))
    client.send(client.protocol.end_stdin())
    assert client.finish().body == repr(result).encode()


HUGE = bytes(range(256)) * 12_000  # 3 MB: more than the worker keeps in memory


@pytest.mark.parametrize("sent", [None, "", "-1", "nonsense"])
@pytest.mark.parametrize("body", [b"", b"some", HUGE], ids=["none", "short", "long"])
def test_a_body_of_unknown_length_gets_one(client: Client, sent: str | None, body: bytes) -> None:
    """A chunked upload, as nginx, Apache and Caddy pass it on."""
    more = {"HTTP_TRANSFER_ENCODING": "chunked"}
    if sent is not None:
        more["CONTENT_LENGTH"] = sent
    client.start("/measured", "POST", None, True, **more)
    for at in range(0, len(body), 1 << 20):
        client.send(client.protocol.send_stdin(body[at : at + (1 << 20)]))
    client.send(client.protocol.end_stdin())
    length, coding, digest = json.loads(client.finish().body)
    assert (length, coding) == (str(len(body)), None) if body else (length, coding) in (
        ("0", None), (None, None),
    )  # fmt: skip
    assert digest == hashlib.sha256(body).hexdigest()


def test_a_coding_is_gone_also_where_the_length_is_known(client: Client) -> None:
    answer = client.request("/measured", "POST", b"some", HTTP_TRANSFER_ENCODING="chunked")
    assert json.loads(answer.body)[:2] == ["4", None]


def test_a_body_that_finds_no_space_costs_its_request(tmp_path: Path) -> None:
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20));"
    run = "sys.argv[:1] = ['fcgi-worker']; from fcgi_worker.cli import main; main()"
    command = [sys.executable, "-c", limit + run, f"{APPS}:application", "--workers", "1"]
    with Process([*command, "--bind", f"unix:{tmp_path}/s"], cwd=ROOT) as process:
        address = process.wait_until_listening()
        before = process.children
        for _ in range(2):
            with Client(address) as client:
                client.start("/measured", "POST", HUGE, CONTENT_LENGTH="")
                assert client.finish().status == 507
                assert client.request("/hello").body == b"hello\n"
        process.wait_for_stderr("POST /measured is refused: cannot collect the body in ")
        process.wait_for_stderr("File too large", times=2)
        assert process.children == before


@pytest.mark.parametrize(
    ("sent", "script", "info"),
    [
        ({"SCRIPT_NAME": "/app"}, "/app", ""),  # exactly where Apache has mounted it
        ({"SCRIPT_NAME": "/app", "PATH_INFO": "/x"}, "/app", "/x"),
        ({"SCRIPT_NAME": "/x", "DOCUMENT_URI": "/x", "SERVER_SOFTWARE": "nginx/1.26"}, "", "/x"),
        ({"SCRIPT_NAME": "/a", "DOCUMENT_URI": "/a/", "SERVER_SOFTWARE": "nginx/1.26"}, "/a", ""),
        ({"PATH_INFO": "/x"}, "", "/x"),
        ({}, "", ""),
    ],
)
def test_the_path(tmp_path: Path, sent: dict[str, str], script: str, info: str) -> None:
    bind = f"unix:{tmp_path}/s"
    with (
        running_worker(f"{APPS}:show_environ", "--workers", "1", bind=bind, cwd=ROOT) as (_, a),
        Client(a) as client,
    ):
        told = json.loads(client.request_raw(sent).body)
        assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == (script, info)


# The answer


def test_pieces_leave_as_they_are_yielded(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    client.start(f"/drip?file={gate}")
    client.read_until_stdout(b"first")
    gate.touch()
    assert client.finish().stdout == b"second"


def test_write_sends_at_once(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    client.start(f"/write?file={gate}")
    client.read_until_stdout(b"written ")
    gate.touch()
    assert client.finish().stdout == b"twice and returned"


def test_large_answers_come_whole(client: Client) -> None:
    for route in ("/big", "/big-list"):
        body = client.request(f"{route}?pieces=80").body
        assert len(body) == 80 * PIECE
        assert hashlib.sha256(body).digest() == hashlib.sha256(body[:PIECE] * 80).digest()


def test_a_list_gets_its_length_and_a_stream_does_not(client: Client) -> None:
    assert client.request("/hello").headers["content-length"] == "6"
    assert "content-length" not in client.request("/big?pieces=2").headers


def test_head_has_no_body_and_no_invented_length(client: Client) -> None:
    answer = client.request("/hello", "HEAD")
    assert answer.body == b""
    assert "content-length" not in answer.headers
    answer = client.request("/own-length?bytes=10&shape=list", "HEAD")
    assert (answer.headers["content-length"], answer.body) == ("10", b"")


def test_204_has_neither_body_nor_length(client: Client) -> None:
    answer = client.request("/no-content")
    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers


def test_a_file_is_sent_whole(client: Client, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "f").write_bytes(content)
    assert client.request(f"/file?path={tmp_path}/f").body == content


@pytest.mark.parametrize("shape", ["list", "stream"])
def test_a_body_that_keeps_its_length(client: Client, shape: str) -> None:
    assert client.request(f"/own-length?bytes=10&shape={shape}").body == b"x" * 10


def test_a_body_short_of_its_length_is_never_passed_off_as_whole(
    shared: tuple[Process, Address],
) -> None:
    with Client(shared[1]) as client:
        answer = client.request("/own-length?bytes=9&shape=list")
        assert answer.status == 500
        assert b"Content-Length" in answer.stderr
        torn = client.request("/own-length?bytes=9&shape=stream")
        assert torn.end is None


@pytest.mark.parametrize("shape", ["list", "stream", "write", "endless"])
def test_a_body_ends_at_its_length(client: Client, shape: str) -> None:
    answer = client.request(f"/own-length?bytes=11&shape={shape}")
    assert (answer.body, answer.stderr) == (b"x" * 10, b"")
    assert answer.end is not None
    assert client.request("/hello").body == b"hello\n"  # the connection is in step


def test_a_file_that_grows_is_sent_up_to_its_length(client: Client, tmp_path: Path) -> None:
    """Such as a log: what is appended after the head was made is not part of the answer."""
    (tmp_path / "log").write_bytes(b"0123456789" * 2000)
    answer = client.request(f"/file?path={tmp_path}/log&from=4&length=10000")
    assert answer.body == (b"0123456789" * 2000)[4:10004]
    assert client.request("/hello").body == b"hello\n"


# Errors


def test_exc_info_replaces_a_head_that_is_not_out(client: Client) -> None:
    answer = client.request("/replaced")
    assert (answer.status, answer.body) == (503, b"sorry")
    assert "x-first" not in answer.headers


@pytest.mark.parametrize("route", ["/too-late", "/raises-torn?closed=CLOSED"])
def test_an_error_after_the_head_tears_the_answer(
    shared: tuple[Process, Address], tmp_path: Path, route: str
) -> None:
    with Client(shared[1]) as client:
        answer = client.request(route.replace("CLOSED", f"{tmp_path}/closed"))
        assert answer.body == b"a piece"
        assert answer.end is None  # no END_REQUEST: no web server takes it for whole
        assert b"Traceback" in answer.stderr


@pytest.mark.parametrize(
    ("route", "told"),
    [
        ("/raises-at-once", b"ZeroDivisionError: raised in /raises-at-once"),
        ("/raises-late?closed=CLOSED", b"before the first piece"),
        ("/raises-exit", b"SystemExit: not the application's to decide"),
        ("/started-twice", b"start_response was called again without exc_info"),
        ("/silent", b"did not call start_response"),
        ("/text-body", b"the body must consist of bytes"),
        ("/bad-head?which=status", b"is not three digits and a reason"),
        ("/bad-head?which=status-newline", b"is not three digits and a reason"),
        ("/bad-head?which=name", b"is not a token"),
        ("/bad-head?which=value", b"contains control characters"),
        ("/bad-head?which=length", b"is not a number of bytes"),
    ],
)
def test_an_error_before_the_head_is_500_and_the_connection_goes_on(
    shared: tuple[Process, Address], client: Client, tmp_path: Path, route: str, told: bytes
) -> None:
    answer = client.request(route.replace("CLOSED", f"{tmp_path}/closed"))
    assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
    assert told in answer.stderr
    shared[0].wait_for_stderr(told.decode())
    assert client.request("/hello").body == b"hello\n"


@pytest.mark.parametrize("route", ["/closing-big?pieces=3", "/raises-late?", "/raises-torn?"])
def test_close_is_called_whatever_happens(
    shared: tuple[Process, Address], tmp_path: Path, route: str
) -> None:
    closed = tmp_path / "closed"
    joint = "" if route.endswith("?") else "&"
    with Client(shared[1]) as client:
        client.request(f"{route}{joint}closed={closed}")
    wait_until(lambda: closed.exists() and closed.read_text() == "closed\n", "close was called")


def test_close_is_called_when_the_web_server_leaves(
    shared: tuple[Process, Address], tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    with Client(shared[1]) as client:
        client.start(f"/closing-big?pieces=1000&closed={closed}")
        client.read_until_stdout(b"0123")
    wait_until(closed.exists, "close was called")


def test_an_error_in_close_does_not_spoil_the_answer(
    shared: tuple[Process, Address],
) -> None:
    with Client(shared[1]) as client:
        assert client.request("/raises-in-close").body == b"complete"
        assert client.request("/hello").body == b"hello\n"
    shared[0].wait_for_stderr("in close")


def test_what_is_said_to_wsgi_errors_reaches_both_logs(
    shared: tuple[Process, Address], client: Client
) -> None:
    answer = client.request("/errors")
    assert answer.stderr == "one Größe\ntwo\nthree\n".encode()
    assert answer.body == b"said"
    shared[0].wait_for_stderr("three")
    assert len(client.request("/many-errors").stderr) == 100_000


def test_what_is_said_in_close_reaches_the_log(
    shared: tuple[Process, Address], client: Client
) -> None:
    assert client.request("/errors-in-close").body == b"complete"
    shared[0].wait_for_stderr("said in close")
    assert client.request("/hello").body == b"hello\n"


def test_what_is_said_in_close_without_a_flush_reaches_the_log_too(
    shared: tuple[Process, Address], client: Client
) -> None:
    assert client.request("/errors-in-close-unflushed").body == b"complete"
    shared[0].wait_for_stderr("said in close without a flush")


def test_nothing_follows_half_a_record(tmp_path: Path) -> None:
    """A traceback in the middle of a record would become part of the body."""
    options, bind = ("--workers", "1", "--write-timeout", "0.3"), f"unix:{tmp_path}/s"
    with (
        running_worker(f"{APPS}:application", *options, bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        client.start("/stubborn")
        process.wait_for_stderr("told after half a record")
        answer = client.finish()
        assert answer.end is None
        assert answer.stderr == b""
        assert answer.body.replace(b"0123456789abcdef", b"") in (
            b"", *(b"0123456789abcdef"[:length] for length in range(16)),
        )  # fmt: skip


def test_a_child_that_dies_takes_one_connection_along(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    with running_worker(f"{APPS}:application", "--workers", "2", bind=bind, cwd=ROOT) as (
        process,
        address,
    ):
        with Client(address) as dying, Client(address) as other:
            assert other.request("/hello").body == b"hello\n"
            assert dying.request("/die").end is None
            assert other.request("/hello").body == b"hello\n"
        process.wait_for_stderr("exited with 7")


# wsgiref.validate


@pytest.mark.parametrize(
    ("route", "method", "body", "wanted"),
    [
        ("/hello", "GET", b"", b"hello\n"),
        ("/echo", "POST", b"x" * 100_000, b"x" * 100_000),
        ("/read?how=readline", "POST", b"a\nb", repr([b"a\n", b"b", b"", b""]).encode()),
        ("/read?how=iterate", "POST", b"a\nb", repr([b"a\n", b"b"]).encode()),
        ("/big?pieces=3", "GET", b"", None),
        ("/errors", "GET", b"", b"said"),
        ("/replaced", "GET", b"", b"sorry"),
    ],
)
def test_the_validator_has_nothing_to_say(
    validated: tuple[Process, Address], route: str, method: str, body: bytes, wanted: bytes | None
) -> None:
    with Client(validated[1]) as client:
        answer = client.request(route, method, body)
        assert b"Assertion" not in answer.stderr
        assert wanted is None or answer.body == wanted
        assert answer.end is not None
    assert "AssertionError" not in validated[0].stderr
    assert "WSGIWarning" not in validated[0].stderr
