"""The open-loop driver without a network: schedule, answers, records, and what plans refuse."""

import json
import shutil
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram

from loadtest.openloop import Plan, PlanError, make_request, parse_target
from loadtest.openloop.answer import Broken, Reader, judge
from loadtest.openloop.record import Record, Times
from loadtest.openloop.result import merge_histograms
from loadtest.openloop.schedule import constant, poisson, times
from servers.common.registry import SPECS
from tests.support.architectures import running

TARGET = parse_target("http://127.0.0.1:8080/hello")


def plan(**changed: Any) -> Plan:
    defaults: dict[str, Any] = {"request": make_request(TARGET), "expected": b""}
    return Plan(target=TARGET, **{**defaults, **changed})


def test_constant_times_are_shared_out_and_do_not_drift() -> None:
    all_times = sorted([*constant(300, 10, 0, 2), *constant(300, 10, 1, 2)])
    assert all_times == [number / 300 for number in range(3000)]
    assert list(constant(10, 0.1, 0, 1)) == [0.0]


def test_poisson_times_repeat_and_have_the_rate_and_the_spread() -> None:
    drawn = list(poisson(1000, 20, "7"))
    assert drawn == list(poisson(1000, 20, "7")) != list(poisson(1000, 20, "8"))
    assert drawn == sorted(drawn)
    assert drawn[-1] < 20
    assert len(drawn) == pytest.approx(20_000, rel=0.04)
    gaps = [after - before for before, after in pairwise(drawn)]
    longer = sum(gap > 0.001 for gap in gaps) / len(gaps)
    assert longer == pytest.approx(0.368, abs=0.02), "1/e of the gaps exceed the mean"


def test_a_limit_is_shared_out() -> None:
    for mode in ({}, {"rate": 1e5}, {"rate": 1e5, "arrivals": "poisson"}):
        parts = [list(times(plan(limit=10, processes=3, **mode), part)) for part in range(3)]
        assert [len(part) for part in parts] == [4, 3, 3]


def test_times_keep_three_digits_and_add_up() -> None:
    one, other = Times(), Times()
    values = [0.000001 * 1.07**power for power in range(260)]
    for seconds in values:
        one.add(seconds)
    other.add(1.0)
    found = HdrHistogram.decode(merge_histograms([one.encode(), other.encode()]))
    assert found.get_total_count() == 261
    assert found.get_max_value() == pytest.approx(values[-1] * 1e6, rel=0.002)
    assert found.get_value_at_percentile(50) == pytest.approx(values[130] * 1e6, rel=0.002)


def test_a_record_draws_stalls() -> None:
    record = Record()
    record.answer(0.001)
    record.roll(0.3)
    record.answer(0.25)
    record.error("timeout", 5)
    steps = [(step.answered, step.failed, step.worst) for step in record.series]
    assert steps == [(1, 0, 0.001), (0, 0, 0), (0, 0, 0), (1, 1, 5)]
    for _ in range(20):
        record.wrong_answer("body", "b''")
    assert record.wrong == {"body": 20}
    assert len(record.evidence) == 8


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = {
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc": (b"abc", True),
    b"HTTP/1.1 200 \r\nConnection: x, Close\r\ncontent-length:0\r\n\r\n": (b"", False),
    b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na": (b"a", False),
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na": (b"a", True),
    b"HTTP/1.1 204 No Content\r\n\r\n": (b"", True),
    CHUNKED + b"1\r\na\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n": (b"a0123456789", True),
    CHUNKED + b"0\r\nTrailer: x\r\n\r\n": (b"", True),
}
"""Answers, their bodies, and whether their connections go on."""


@pytest.mark.parametrize("data", WHOLE)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_whole_answer_is_whole_at_its_last_byte(data: bytes, size: int) -> None:
    reader = Reader()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [reader.feed(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert (bytes(reader.body), reader.keeps) == WHOLE[data]


def test_an_answer_without_length_ends_with_its_connection() -> None:
    reader = Reader()
    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert reader.eof()
    assert (bytes(reader.body), reader.keeps) == (b"abc", False)
    short = Reader()
    assert not short.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
    assert not short.eof()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"SSH-2.0-x\r\n\r\n\r\n\r\n", "not a status line"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "not a header field: b'no colon'"),
        (b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", "not a header field"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "not a status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", "1 bytes after the answer's end"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", "invalid or second"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", "second Content-L"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "unknown transfer coding"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "both Content",
        ),
        (CHUNKED + b"x\r\n", "not a chunk size"),
        (CHUNKED + b"1\r\nabc", "longer than its size"),
        (CHUNKED + b"0\r\n\r\nx", "after the answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000, "has no end"),
    ],
)
def test_what_is_no_answer_is_broken(data: bytes, why: str) -> None:
    with pytest.raises(Broken, match=why):
        Reader().feed(data)


def test_an_answer_is_judged() -> None:
    reader = Reader()
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
    assert judge(reader, 200, b"abc") == ("", "")
    assert judge(reader, 200, b"abcd")[0] == "body"
    assert judge(reader, 204, b"abc")[0] == "status"
    assert judge(reader, 200, bytes.isalpha) == ("", "")
    assert judge(reader, 200, bytes.isdigit)[0] == "body"


def test_targets() -> None:
    target = parse_target("http://127.0.0.1:81/a?b=c")
    assert (target.address, target.path) == (("127.0.0.1", 81), "/a?b=c")
    assert make_request(target) == b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:81\r\n\r\n"
    assert parse_target("http://[::1]:81").family == socket.AF_INET6
    unix = parse_target("unix:/run/a.sock:/x")
    assert (unix.family, unix.address, unix.path) == (socket.AF_UNIX, "/run/a.sock", "/x")
    assert make_request(unix, "POST", b"ab", keep=False) == (
        b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab"
    )


@pytest.mark.parametrize("text", ["", "https://127.0.0.1", "unix:", "http://a:x", "http://h/ä"])
def test_other_targets_are_refused(text: str) -> None:
    with pytest.raises(PlanError, match="URL"):
        parse_target(text)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"rate": 0}, "rate: 0"),
        ({"rate": float("nan")}, "rate: nan"),
        ({"duration": 1e9}, "duration"),
        ({"processes": 9}, "9 for 8 connections"),
        ({"connections": 0}, "connections: 0"),
        ({"expected": lambda _: True}, "a module's top-level function"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        plan(**changed)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "loadtest.openloop", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"Hello?\n")
    with running(SPECS["epoll-lt"]) as server:
        url = f"{server.url}/hello"
        told = command(url, "--rate", "200", "--duration", "0.5")
        stored = command(url, "--closed", "--requests", "100", "--json", "--close")
        failed = command(url, "--rate", "200", "--duration", "0.5", "--expect", str(wrong))
        missing = command(f"{server.url}/nothing", "--closed")
    assert told.returncode == 0, told.stderr
    assert "100 intended, 100 sent, 100 answered" in told.stdout
    assert "8 of 8 wanted" in told.stdout
    found = json.loads(stored.stdout)
    assert (found["schema"], found["mode"], found["answered"]) == (1, "closed", 100)
    assert HdrHistogram.decode(found["latency"]).get_total_count() == 100
    assert failed.returncode == 1
    assert "wrong      100 body" in failed.stdout
    assert "--status: expected 200, the server answered 404" in missing.stderr


def test_the_command_line_says_what_helps() -> None:
    assert "give requests per second, or --closed" in command("http://127.0.0.1:1/").stderr
    assert "leave --rate out" in command("http://127.0.0.1:1", "--rate", "1", "--closed").stderr
    down = command("http://127.0.0.1:1/", "--closed")
    assert down.returncode == 1
    assert "is the server up?" in down.stderr
    assert "write http://HOST" in command("ftp://x", "--closed").stderr


def test_the_check_beside_wrk_runs() -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed: run sudo apt install wrk")
    line = [sys.executable, "-m", "loadtest.openloop.check", "--rounds", "1"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert "round 1: wrk" in done.stdout, done.stderr
    assert "within 10%" in done.stdout  # or "not within": the machine's noise is no failure
