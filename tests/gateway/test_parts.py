"""The parts of the gateway that do no I/O: parameters, paths, bodies, conditions, log lines."""

import json
import time
from pathlib import Path

import pytest

from chainlab.transport import Address
from chainlab.transport.networks import NOBODY
from chainlab.wire.http1 import Limits, LocalProtocolError, RequestHead, ServerConnection
from gateway.body import HIGH, Body
from gateway.conditions import Part, choose_part, judge, read_date
from gateway.config import Log, Upstream
from gateway.forwarded import Origin, find_origin
from gateway.logs import LogHead, open_logs
from gateway.loop import Loop
from gateway.params import Peer, RequestPlan, make_fields, make_params, to_client
from gateway.routing import resolve_path
from gateway.scoreboard import Scoreboard

PEER = Peer("192.0.2.7", "192.0.2.1", 8080)
UPSTREAM = Upstream("app", "fastcgi", (Address(path="/a"),), params=(("EXTRA", "1"),))


def head_of(*lines: bytes, first: bytes = b"GET /a%20b/c?d=%20e HTTP/1.1") -> RequestHead:
    connection = ServerConnection(Limits())
    connection.receive_data(b"\r\n".join([first, *lines, b"", b""]))
    head = connection.next_event()
    assert isinstance(head, RequestHead)
    return head


def params_of(head: RequestHead, upstream: Upstream = UPSTREAM) -> dict[bytes, bytes]:
    return make_params(head, origin_of(head), upstream)


def origin_of(head: RequestHead) -> Origin:
    return find_origin(head, PEER.remote, PEER.local, PEER.local_port, NOBODY)


# Parameters (RFC 3875 section 4.1)


def test_the_parameters_are_complete() -> None:
    head = head_of(
        b"Host: example.org:81", b"Content-Type: text/x", b"Content-Length: 3", b"Accept: */*",
        first=b"POST /a%20b/c?d=%20e HTTP/1.1",
    )  # fmt: skip
    assert params_of(head) == {
        b"GATEWAY_INTERFACE": b"CGI/1.1",
        b"SERVER_SOFTWARE": b"chain-gateway",
        b"SERVER_PROTOCOL": b"HTTP/1.1",
        b"SERVER_NAME": b"example.org",
        b"SERVER_ADDR": b"192.0.2.1",
        b"SERVER_PORT": b"8080",
        b"REMOTE_ADDR": b"192.0.2.7",
        b"REQUEST_METHOD": b"POST",
        b"REQUEST_SCHEME": b"http",
        b"REQUEST_URI": b"/a%20b/c?d=%20e",
        b"DOCUMENT_URI": b"/a%20b/c",
        b"SCRIPT_NAME": b"",
        b"PATH_INFO": b"/a b/c",
        b"QUERY_STRING": b"d=%20e",
        b"REDIRECT_STATUS": b"200",
        b"CONTENT_TYPE": b"text/x",
        b"CONTENT_LENGTH": b"3",
        b"HTTP_HOST": b"example.org:81",
        b"HTTP_ACCEPT": b"*/*",
        b"HTTP_X_FORWARDED_FOR": b"192.0.2.7",
        b"HTTP_X_FORWARDED_PROTO": b"http",
        b"HTTP_X_FORWARDED_HOST": b"example.org:81",
        b"EXTRA": b"1",
    }


def test_what_must_not_become_a_parameter() -> None:
    head = head_of(
        b"Host: a", b"Proxy: evil", b"X_Under: 1", b"Connection: close, X-Hop", b"X-Hop: 1",
        b"Keep-Alive: 5", b"TE: trailers", b"Upgrade: h2c", b"X-Request-Id: forged",
        b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil", b"X-Forwarded-For: 6.6.6.6",
        b"X-Forwarded-Ssl: on", b"Forwarded: for=6.6.6.6", b"X-Real-IP: 6.6.6.6",
        b"X_Forwarded_Proto: https", b"X-Forwarded_Host: evil",
    )  # fmt: skip
    fields = dict(make_fields(head, origin_of(head)))
    assert fields == {
        b"Host": b"a", b"X-Forwarded-For": b"192.0.2.7", b"X-Forwarded-Proto": b"http",
        b"X-Forwarded-Host": b"a", b"Via": b"1.1 chain-gateway",
    }  # fmt: skip
    params = params_of(head)
    assert b"HTTP_PROXY" not in params
    assert {name for name in params if name.startswith(b"HTTP_")} == {
        b"HTTP_HOST", b"HTTP_X_FORWARDED_FOR", b"HTTP_X_FORWARDED_PROTO", b"HTTP_X_FORWARDED_HOST",
    }  # fmt: skip
    assert params[b"HTTP_X_FORWARDED_HOST"] == b"a"


@pytest.mark.parametrize(
    ("host", "name"),
    [(b"a", b"a"), (b"a:9", b"a"), (b"[::1]:9", b"[::1]"), (b"[::1]", b"[::1]"), (b"a:", b"a")],
)
def test_the_servers_name_is_the_hosts_and_its_port_the_listeners(host: bytes, name: bytes) -> None:
    params = params_of(head_of(b"Host: " + host))
    assert (params[b"SERVER_NAME"], params[b"SERVER_PORT"]) == (name, b"8080")


@pytest.mark.parametrize(
    ("local", "name", "address"),
    [
        ("::1", b"[::1]", b"::1"), ("192.0.2.1", b"192.0.2.1", b"192.0.2.1"),
        ("::ffff:192.0.2.1", b"192.0.2.1", b"192.0.2.1"),
    ],
)  # fmt: skip
def test_addresses_have_the_form_that_their_field_wants(
    local: str, name: bytes, address: bytes
) -> None:
    peer = Peer("::ffff:192.0.2.9", local, 80)
    head = head_of(first=b"GET / HTTP/1.0")
    origin = find_origin(head, peer.remote, peer.local, peer.local_port, NOBODY)
    params = make_params(head, origin, UPSTREAM)
    assert (params[b"SERVER_NAME"], params[b"SERVER_ADDR"]) == (name, address)
    assert params[b"REMOTE_ADDR"] == params[b"HTTP_X_FORWARDED_FOR"] == b"192.0.2.9"
    assert dict(make_fields(head, origin))[b"Host"] == name


def test_http_1_0_without_host() -> None:
    params = params_of(head_of(first=b"GET / HTTP/1.0"))
    assert params[b"SERVER_NAME"] == b"192.0.2.1"
    assert b"HTTP_HOST" not in params


def test_fields_for_an_http_upstream() -> None:
    head = head_of(
        b"Host: a", b"X-Two: 1", b"X-Two: 2", b"X_Two: 3", b"Transfer-Encoding: chunked", b"TE: x",
        b"Expect: 100-continue", first=b"POST / HTTP/1.1",
    )  # fmt: skip
    fields = list(make_fields(head, origin_of(head)))
    assert fields == [
        (b"Host", b"a"),
        (b"x-two", b"1"),
        (b"x-two", b"2"),
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"a"),
        (b"Via", b"1.1 chain-gateway"),
        (b"Transfer-Encoding", b"chunked"),
    ]


def test_the_target_and_the_length_for_an_http_upstream() -> None:
    upstream = Upstream("app", "http", ())
    for target in (b"/a", b"/a?", b"/a?b?", b"/?", b"/a?b=c", b"//a/../b?"):
        plan = RequestPlan(
            head_of(b"Host: a", first=b"GET %b HTTP/1.1" % target), PEER, 1, upstream
        )
        assert plan.target == target
    head = head_of(b"Host: a", b"Content-Length: 0005", first=b"POST / HTTP/1.1")
    assert (b"content-length", b"5") in RequestPlan(head, PEER, 1, upstream).fields


def test_a_clients_request_id_is_kept_when_it_is_one_token() -> None:
    assert RequestPlan(head_of(b"Host: a", b"X-Request-Id: a-1"), PEER, 1).request_id == b"a-1"
    assert RequestPlan(head_of(b"Host: a", b"X-Request-Id: a 1"), PEER, 1).request_id is None
    assert (
        RequestPlan(head_of(b"Host: a", b"X-Request-Id: " + b"a" * 129), PEER, 1).request_id is None
    )


def test_a_response_loses_what_is_not_the_upstreams_to_say() -> None:
    head = to_client(
        200, None,
        ((b"Server", b"x"), (b"Date", b"x"), (b"Connection", b"X-Hop"), (b"X-Hop", b"1"),
         (b"Transfer-Encoding", b"chunked"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")),
    )  # fmt: skip
    assert head.fields == (
        (b"Server", b"chain-gateway"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"),
    )  # fmt: skip
    assert to_client(204, None, ((b"Content-Length", b"5"),)).content_length is None
    with pytest.raises(LocalProtocolError):
        to_client(200, None, ((b"A", b"b\r\nC: d"),)).encode(
            minor=1, keep_alive=True, chunked=False
        )


# Paths


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        (b"/", "/"), (b"/a/b", "/a/b"), (b"/a/b/", "/a/b/"), (b"/%61dmin", "/admin"),
        (b"/a/../b", "/b"), (b"/a/./b", "/a/b"), (b"/a/%2e%2e/b", "/b"), (b"//a///b", "/a/b"),
        (b"/a/b/..", "/a/"), (b"/a/..", "/"), (b"/..", None), (b"/a/../../b", None),
        (b"/%2e%2e/etc", None), (b"/a..b", "/a..b"), (b"/.hidden", "/.hidden"),
        (b"/%2Fetc", "/etc"), (b"/%252e", "/%2e"), (b"*", "*"), (b"/%C3%A9", "/é"),
    ],
)  # fmt: skip
def test_a_path_is_resolved(path: bytes, resolved: str | None) -> None:
    assert resolve_path(path) == resolved


def test_a_path_that_is_no_utf_8_names_the_same_bytes() -> None:
    resolved = resolve_path(b"/%ff")
    assert resolved is not None
    assert resolved.encode("utf-8", "surrogateescape") == b"/\xff"


# Bodies


def test_a_streamed_body_is_full_at_its_limit() -> None:
    body = Body(spooled=False)
    body.append(b"x" * (HIGH - 1))
    assert body.ready
    assert not body.full
    body.append(b"y")
    assert body.full
    assert body.take() == b"x" * (HIGH - 1) + b"y"
    assert not body.full
    assert not body.rewind()  # it has gone and was not all
    body.finish()
    assert body.drained


def test_a_whole_body_can_be_taken_again() -> None:
    body = Body(spooled=False)
    body.append(b"all")
    assert body.take_whole() is None
    body.finish()
    assert body.take_whole() == b"all"
    assert body.rewind()
    assert body.take() == b"all"


@pytest.mark.parametrize("size", [0, 5, HIGH, HIGH + 1, 5 * HIGH + 7])
def test_a_spooled_body_comes_back_whole(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    body = Body(spooled=True)
    for at in range(0, size, 1000):
        body.append(content[at : min(at + 1000, size)])
        assert not body.full
        assert not body.ready
    body.finish()
    for _ in range(2):
        got = b""
        while not body.drained:
            got += body.take()
        assert got == content[:size]
        assert body.size == size
        assert body.rewind()
    body.close()


# Conditions and ranges (RFC 9110 sections 13 and 14)

ETAG = b'"1-2"'
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = b"Sun, 06 Nov 1994 08:49:36 GMT"
WHEN = 784111777


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((b"If-None-Match: " + ETAG,), 304), ((b"If-None-Match: W/" + ETAG,), 304),
        ((b'If-None-Match: "a", ' + ETAG,), 304), ((b"If-None-Match: *",), 304),
        ((b'If-None-Match: "a"', b"If-None-Match: " + ETAG), 304),
        ((b'If-None-Match: "a"',), 200), ((b'If-None-Match: "a,"1-2""',), 200),
        ((b"If-Modified-Since: " + DATE,), 304), ((b"If-Modified-Since: " + EARLIER,), 200),
        ((b"If-Modified-Since: yesterday",), 200), ((b"X: y",), 200),
        ((b"If-Match: " + ETAG,), 200), ((b"If-Match: *",), 200), ((b'If-Match: "a"',), 412),
        ((b"If-Match: W/" + ETAG,), 412), ((b'If-Match: "a"', b"If-Match: " + ETAG), 200),
        ((b"If-Unmodified-Since: " + DATE,), 200), ((b"If-Unmodified-Since: " + EARLIER,), 412),
        ((b"If-Unmodified-Since: yesterday",), 200),
        # The tag goes before the date, and a condition on what to change before one on a copy.
        ((b'If-None-Match: "a"', b"If-Modified-Since: " + DATE), 200),
        ((b"If-Match: " + ETAG, b"If-Unmodified-Since: " + EARLIER), 200),
        ((b'If-Match: "a"', b"If-None-Match: " + ETAG), 412),
        ((b"If-Match: " + ETAG, b"If-None-Match: " + ETAG), 304),
    ],
)  # fmt: skip
def test_conditions(fields: tuple[bytes, ...], status: int) -> None:
    assert judge(head_of(b"Host: a", *fields), ETAG, WHEN) == status


WHOLE = Part(200, 0, 100)
NONE = Part(416, 0, 0)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (b"bytes=0-9", Part(206, 0, 10)), (b"bytes=90-", Part(206, 90, 100)),
        (b"bytes=-5", Part(206, 95, 100)), (b"bytes=-500", Part(206, 0, 100)),
        (b"bytes=50-500", Part(206, 50, 100)), (b"bytes=0-0", Part(206, 0, 1)),
        (b"bytes=0-", Part(206, 0, 100)), (b"bytes=0-99", Part(206, 0, 100)),
        (b"BYTES=0-9", Part(206, 0, 10)), (b"bytes= 0-9 , ", Part(206, 0, 10)),
        (b"bytes=0-" + b"9" * 5000, Part(206, 0, 100)), (b"bytes=" + b"9" * 5000 + b"-", NONE),
        (b"bytes=-" + b"9" * 5000, Part(206, 0, 100)),
        (b"bytes=" + b"0" * 5000 + b"5-9", Part(206, 5, 10)),
        (b"bytes=100-", NONE), (b"bytes=-0", NONE), (b"bytes=100-,200-300", NONE),
        (b"bytes=9-0", WHOLE), (b"lines=0-1", WHOLE), (b"bytes=-", WHOLE), (b"bytes=", WHOLE),
        (b"bytes=a-b", WHOLE), (b"bytes=0-1,a", WHOLE), (b"bytes=0-1;5-6", WHOLE),
        (b"bytes=0-1,5-6", WHOLE), (b"bytes=0-1,200-", Part(206, 0, 2)),
        (b"bytes=5-9,0-4", Part(206, 0, 10)), (b"bytes=0-50,40-60,-50", Part(206, 0, 100)),
    ],
)  # fmt: skip
def test_a_range(value: bytes, part: Part) -> None:
    head = head_of(b"Host: a", b"Range: " + value)
    assert choose_part(head, ETAG, WHEN, 100) == part


@pytest.mark.parametrize(
    ("value", "status"),
    [(b"bytes=0-", 200), (b"bytes=-1", 200), (b"bytes=0-0", 200), (b"bytes=1-", 416)],
)
def test_a_range_of_an_empty_file(value: bytes, status: int) -> None:
    head = head_of(b"Host: a", b"Range: " + value)
    assert choose_part(head, ETAG, WHEN, 0).status == status


@pytest.mark.parametrize(
    ("condition", "part"),
    [
        (ETAG, Part(206, 0, 10)), (DATE, Part(206, 0, 10)), (b'"other"', WHOLE),
        (b"W/" + ETAG, WHOLE), (EARLIER, WHOLE), (b"Sun Nov  6 08:49:37 1994", Part(206, 0, 10)),
    ],
)  # fmt: skip
def test_a_range_under_a_condition(condition: bytes, part: Part) -> None:
    head = head_of(b"Host: a", b"Range: bytes=0-9", b"If-Range: " + condition)
    assert choose_part(head, ETAG, WHEN, 100) == part


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_dates_of_all_three_forms_are_utc(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert read_date(DATE) == WHEN
        assert read_date(b"Sunday, 06-Nov-94 08:49:37 GMT") == WHEN
        assert read_date(b"Sun Nov  6 08:49:37 1994") == WHEN
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_year_of_two_digits_is_at_most_fifty_years_ahead() -> None:
    year = time.gmtime().tm_year
    for ahead, expected in ((50, year + 50), (51, year - 49)):
        date = b"Sunday, 06-Nov-%02d 08:49:37 GMT" % ((year + ahead) % 100)
        seconds = read_date(date)
        assert seconds is not None
        assert time.gmtime(seconds).tm_year == expected


@pytest.mark.parametrize(
    "text",
    [
        b"no date", b"", b"Sun, 06 Nov 1994 08:49:37", b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Foo 1994 08:49:37 GMT", b"Sun, 32 Nov 1994 08:49:37 GMT", b"\xff" * 29,
        b"Sun, 06 Nov 1994 24:49:37 GMT", b"Sun, 06 Nov 1994 08:49:37 +0100",
    ],
)  # fmt: skip
def test_what_is_no_date(text: bytes) -> None:
    assert read_date(text) is None
    assert read_date(None) is None


# Logs


def no_bug(_owner: object) -> None:
    raise AssertionError("a bug")


def test_a_log_line_cannot_be_forged(tmp_path: Path) -> None:
    path = tmp_path / "access"
    log, _ = open_logs(Log(access=str(path)), Loop(no_bug))
    head = head_of(b"Host: a", b'User-Agent: a" "b\\ \xff', b"Referer: r", first=b"GET /x HTTP/1.1")
    log.combined("192.0.2.7", LogHead(head), 200, 5)
    log.combined("192.0.2.7", LogHead(None), 400, 0)
    log.close()
    first, second = path.read_text().splitlines()
    assert first.startswith("192.0.2.7 - - [")
    assert first.endswith('] "GET /x HTTP/1.1" 200 5 "r" "a\\x22 \\x22b\\x5c \\xff"')
    assert second.endswith('] "-" 400 0 "-" "-"')


def test_the_scoreboard_tells_the_oldest_generation() -> None:
    board = Scoreboard()
    board.write(0, pid=10, generation=3, active=1, connections=2, requests=5)
    board.write(1, pid=11, generation=2, draining=1)
    board.write(2, pid=12, generation=1)
    board.write(2, 0, 0)
    told = json.loads(board.as_json())
    assert told["generation"] == 2
    assert [process["pid"] for process in told["processes"]] == [10, 11]
    assert told["processes"][0]["requests"] == 5
