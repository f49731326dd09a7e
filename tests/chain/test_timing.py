"""One request through gateway and worker: both tell the same of it, and so does the lab's chain."""

import http.client
import json
import time
import urllib.request
from pathlib import Path

import pytest

from lab.chain.backends import BACKENDS
from tests.support.gateway import running_gateway
from tests.support.lab import Lab
from tests.support.processes import running_worker
from tests.support.timing import line_of, log_lines, server_timing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NAMES = ["worker-wait", "worker-app", "gw-accept", "gw-queue", "gw-connect", "gw-first-byte"]
CLOCKS = 1000.0
"""Milliseconds that the wall clock, which the wait is measured by, may be set by meanwhile."""


def test_both_logs_and_the_answer_tell_the_same(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/w.sock"
    logs = tmp_path / "gateway.log", tmp_path / "worker.log"
    asked = [("GET", "/hello"), ("POST", "/echo"), ("HEAD", "/hello"), ("GET", "/bytes?n=200000"),
             ("GET", "/stream?n=3&ms=1"), ("GET", "/wait?ms=30"), ("GET", "/none")]  # fmt: skip
    with (
        running_worker(
            *("servers.app.wsgi:application", "--workers", "2", "--server-timing"),
            *("--access-log", str(logs[1])),
            bind=bind,
        ),
        running_gateway(
            *("--fastcgi", bind, "--server-timing", "--traceparent"),
            *("--log-format", "json", "--access-log", str(logs[0])),
        ) as found,
        found.connect() as client,
    ):
        answers = []
        for method, path in asked:
            body = b"content" if method == "POST" else b""
            begun = time.monotonic()
            head, _ = client.ask(method, path, body, traceparent=f"00-{TRACE}-{SPAN}-01")
            check_sums(server_timing(head), (time.monotonic() - begun) * 1000)
            answers.append(head)
        front, back = (log_lines(log, len(asked)) for log in logs)
    back.sort(key=lambda line: line["start"])  # each child writes its lines when it likes
    ids = [head.headers["X-Request-Id"] for head in answers]
    assert len(set(ids)) == len(asked)
    assert [line["id"] for line in front] == [line["id"] for line in back] == ids
    for (method, path), head, ours, theirs in zip(asked, answers, front, back, strict=True):
        assert ours["request"] == f"{method} {path} HTTP/1.1"
        assert (theirs["method"], theirs["path"]) == (method, path)
        assert ours["status"] == theirs["status"] == head.status
        assert ours["bytes"] == theirs["bytes"]
        assert ours["trace"] == theirs["trace"] == TRACE
        assert (ours["parent"], theirs["parent"]) == (SPAN, ours["span"])
        told = server_timing(head)
        assert theirs["milliseconds"]["wait"] == told["worker-wait"]
        assert ours["milliseconds"]["first_byte"] == pytest.approx(told["gw-first-byte"], abs=0.001)
        assert theirs["milliseconds"]["application"] >= told["worker-app"]  # to the answer's end
        assert not ours["cut"]
        assert not theirs["cut"]


def check_sums(told: dict[str, float], measured: float) -> None:
    """The worker's parts lie within the gateway's last one, and all of them within the client's."""
    assert list(told) == NAMES
    assert sum(told[name] for name in NAMES[2:]) <= measured
    assert told["worker-app"] <= told["gw-first-byte"]
    assert told["worker-wait"] + told["worker-app"] <= told["gw-first-byte"] + CLOCKS


def test_an_application_that_takes_its_time_has_it_told(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/w.sock"
    application = ("servers.app.wsgi:application", "--workers", "1", "--server-timing")
    with (
        running_worker(*application, bind=bind),
        running_gateway("--fastcgi", bind, "--server-timing") as found,
        found.connect() as client,
        found.connect() as other,
    ):
        client.ask("GET", "/hello")
        client.request("GET", "/wait?ms=300")
        other.request("GET", "/hello")  # one child, so one connection: it waits in the gateway
        first, second = client.response()[0], other.response()[0]
    assert server_timing(first)["worker-app"] >= 300
    assert sum(server_timing(second)[n] for n in ("gw-queue", "worker-wait")) <= 30_000


@pytest.mark.parametrize("backend", ["php-fpm", "epoll-lt", "flup-fork"])
def test_whoever_stands_behind_is_told_of_the_trace(tmp_path: Path, backend: str) -> None:
    if reason := BACKENDS[backend].unavailable():
        pytest.skip(reason)
    with Lab(tmp_path) as lab:
        address = lab.up("--backend", backend)
        request = urllib.request.Request(
            f"http://{address}/whoami", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            told = json.load(answer)["headers"]["traceparent"]
            line = line_of(tmp_path / "access.log", answer.headers["X-Request-Id"])
    assert told == f"00-{TRACE}-{line['span']}-01"


def test_the_labs_chain_tells_it_before_and_after_a_swap(tmp_path: Path) -> None:
    with Lab(tmp_path) as lab:
        address = lab.up()
        assert list(server_timing(ask(address))) == NAMES
        lab.good("swap", "epoll-lt")
        assert list(server_timing(ask(address))) == NAMES[2:]
        lab.good("swap", "fcgi-worker")
        answer = ask(address)
        assert list(server_timing(answer)) == NAMES
        for log in ("access.log", "fcgi-worker-access.log"):
            assert line_of(tmp_path / log, answer.headers["X-Request-Id"])["status"] == 200


def ask(address: str) -> http.client.HTTPResponse:
    with urllib.request.urlopen(f"http://{address}/hello", timeout=20) as answer:
        assert isinstance(answer, http.client.HTTPResponse)
        return answer
