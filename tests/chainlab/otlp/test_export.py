"""Spans of real requests, sent to a real receiver of OTLP: their ids, times and what goes wrong."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainlab.otlp.follow import Follower
from tests.support.processes import Process, running_worker, wait_until
from tests.support.timing import log_lines

pytest.importorskip("opentelemetry.sdk", reason="the extra otlp is not installed: make setup")

from tests.support.collector import Collector
from tests.support.gateway import running_gateway

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
LINE = (
    '{"start": 1764547200.25, "id": "i%d", "remote": "::1", "method": "GET", "path": "/%d",'
    ' "status": 200, "bytes": 2, "milliseconds": {"wait": null, "application": 1.5}, "pid": 7,'
    f' "cut": false, "trace": "{TRACE}", "parent": "{SPAN}", "sampled": true}}\n'
)


@contextlib.contextmanager
def exporting(*arguments: str) -> Iterator[Process]:
    with Process([sys.executable, "-m", "chainlab.otlp", *arguments]) as process:
        process.wait_for_stderr("chain-otlp: following")
        yield process


def append(log: Path, *numbers: int) -> None:
    with log.open("a") as file:
        file.write("".join(LINE % (number, number) for number in numbers))


def paths(collector: Collector) -> list[str]:
    return [span["url.path"] for span in collector.spans]


def test_one_request_is_two_spans_of_the_clients_trace(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/w.sock"
    logs = [tmp_path / "gateway.log", tmp_path / "worker.log"]
    with (
        Collector() as collector,
        running_worker("servers.app.wsgi:application", "--access-log", str(logs[1]), bind=bind),
        running_gateway(
            *("--fastcgi", bind, "--traceparent", "--log-format", "json"),
            *("--access-log", str(logs[0])),
        ) as found,
        exporting(*map(str, logs), "--endpoint", collector.url) as exporter,
        found.connect() as client,
    ):
        given = f"00-{TRACE}-{SPAN}-01"
        head, _ = client.ask("GET", "/wait?ms=20", traceparent=given)
        client.ask("GET", "/hello", traceparent=given[:-2] + "00")  # not sampled
        client.ask("GET", "/none")
        wait_until(lambda: len(collector.spans) == 4, "the spans have come")
        exporter.signal(signal.SIGTERM)
        assert exporter.wait() == 0
        lines = log_lines(logs[0], 3)
    front, back = sorted(
        (span for span in collector.spans if span["url.path"] == "/wait"),
        key=lambda span: str(span["service"]),
    )
    assert (front["service"], back["service"]) == ("chain-gateway", "fcgi-worker")
    assert front["trace"] == back["trace"] == TRACE
    assert (front["parent"], back["parent"]) == (SPAN, front["span"])
    assert front["span"] == lines[0]["span"]
    assert front["name"] == back["name"] == "GET"
    assert front["url.query"] == back["url.query"] == "ms=20"
    assert front["http.response.status_code"] == back["http.response.status_code"] == 200
    for span in (front, back):
        assert span["http.request.header.x-request-id"] == [head.headers["X-Request-Id"]]
        assert span["end"] - span["start"] >= 20_000_000
    assert front["chainlab.first_byte_ms"] >= 20
    assert back["chainlab.application_ms"] >= 20
    own = {span["trace"] for span in collector.spans if span["url.path"] == "/none"}
    assert own == {lines[2]["trace"]}


def test_a_failure_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    with (
        Collector() as collector,
        running_gateway(
            *("--fastcgi", f"unix:{tmp_path}/none", "--traceparent", "--log-format", "json"),
            *("--access-log", str(log)),
        ) as found,
        exporting(str(log), "--endpoint", collector.url),
    ):
        assert found.get("/")[0] == 502
        wait_until(lambda: collector.spans, "the span has come")
    (span,) = collector.spans
    assert (span["http.response.status_code"], span["status"], span["parent"]) == (502, 2, "")


def test_a_collector_that_is_away_gets_everything_once_it_is_back(tmp_path: Path) -> None:
    log = tmp_path / "w.log"
    append(log, 0)
    with Collector() as collector, exporting(str(log), "--endpoint", collector.url) as exporter:
        collector.status = 503
        append(log, 1)
        exporter.wait_for_stderr("the collector does not accept spans; retrying")
        append(log, *range(2, 1500))
        collector.status = 200
        wait_until(lambda: len(collector.spans) == 1499, "all have come", seconds=60)
        assert exporter.stderr.count("does not accept") == 1
        exporter.wait_for_stderr("the collector accepts spans again")
    assert paths(collector) == [f"/{number}" for number in range(1, 1500)]  # 0 was there before


def test_nobody_listens_and_it_stops_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "w.log"
    append(log, 1)
    endpoint = ("--endpoint", "http://127.0.0.1:1", "--from-start")
    with exporting(str(log), *endpoint) as exporter:
        exporter.wait_for_stderr("the collector does not accept spans")
        exporter.signal(signal.SIGINT)
        assert exporter.wait() == 0
        assert "spans dropped: 1 " in exporter.stderr


def test_rotation_and_lines_of_others(tmp_path: Path) -> None:
    log = tmp_path / "w.log"
    with (
        Collector() as collector,
        exporting(str(log), "--endpoint", collector.url),
        (tmp_path / "w.log").open("a") as late,
    ):
        append(log, 1)
        late.write('not JSON\n[]\n{"sampled": true}\n{"status": 200}\n')
        late.flush()
        wait_until(lambda: paths(collector) == ["/1"], "the first has come")
        log.rename(tmp_path / "w.old")
        append(log, 3)
        late.write(LINE % (2, 2))  # by a writer that has not opened the new one yet
        late.flush()
        wait_until(lambda: len(collector.spans) == 3, "the new file's has come, too")
    assert paths(collector) == ["/1", "/2", "/3"]


def test_a_follower_reads_whole_lines_and_what_was_emptied(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = Follower(log, from_start=False)
    assert follower.read(10) == []
    log.write_text("one\ntw")
    assert follower.read(10) == ["one"]
    with log.open("a") as file:
        file.write("o\nthree\nfour\n")
    assert follower.read(2) == ["two", "three"]
    assert follower.read(2) == ["four"]
    os.truncate(log, 0)
    assert follower.read(2) == []
    with log.open("a") as file:
        file.write("five\n")
    assert follower.read(2) == ["five"]
    follower.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'LOG...'"),
        (["log", "--endpoint", "127.0.0.1:4318"], "is not a URL; use http://HOST:PORT"),
        (["."], "Is a directory"),
    ],
)
def test_what_it_cannot_do(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(arguments, tmp_path)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_so(tmp_path: Path) -> None:
    blocker = tmp_path / "opentelemetry.py"
    blocker.write_text("raise ModuleNotFoundError(name='opentelemetry')\n")
    done = run(["log"], tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "opentelemetry is not installed; run: pip install 'chainlab[otlp]'" in done.stderr


def run(arguments: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chainlab.otlp", *arguments],
        cwd=folder, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
