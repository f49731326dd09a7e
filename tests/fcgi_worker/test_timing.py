"""What the worker tells of a request: Server-Timing and its access log; nothing unless asked."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fcgi_worker.timing import read_wait
from tests.fcgi_worker.conftest import APPS, ROOT
from tests.support.fastcgi import Client
from tests.support.processes import Process, running_worker, wait_until
from tests.support.timing import log_lines

APPLICATION = f"{APPS}:application"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[tuple[Process, Client]]:
    """A worker that tells all, one child, and a connection to it."""
    options = ("--workers", "1", "--server-timing", "--access-log", str(tmp_path / "w.log"))
    with (
        running_worker(APPLICATION, *options, bind=f"unix:{tmp_path}/s", cwd=ROOT) as (process, at),
        Client(at) as client,
    ):
        yield process, client


def timing(headers: dict[str, str]) -> dict[str, float]:
    metrics = [metric.split(";dur=") for metric in headers["server-timing"].split(", ")]
    return {name: float(duration) for name, duration in metrics}


def now() -> str:
    return f"t={time.time_ns() // 1000}"


def test_nothing_is_added_unless_asked_for(client: Client) -> None:
    assert "server-timing" not in client.request("/hello", HTTP_X_REQUEST_START=now()).headers


def test_wait_and_application(telling: tuple[Process, Client]) -> None:
    _, client = telling
    sent = time.monotonic()
    answer = client.request("/hello", HTTP_X_REQUEST_START=now())
    measured = (time.monotonic() - sent) * 1000
    found = timing(answer.headers)
    assert list(found) == ["worker-wait", "worker-app"]
    assert answer.stdout.partition(b"\r\n\r\n")[0].rpartition(b"\r\n")[2].startswith(b"Server-Tim")
    # The wall clock may be set while the test runs; by a second it is not.
    assert sum(found.values()) <= measured + 1000
    assert found["worker-app"] <= measured
    assert answer.body == b"hello\n"


def test_a_request_waits_for_a_busy_child(telling: tuple[Process, Client], tmp_path: Path) -> None:
    process, client = telling
    gate = tmp_path / "gate"
    client.start(f"/hold?file={gate}")
    wait_until(Path(f"{gate}.started").exists, "the request runs")
    with Client(process.wait_until_listening()) as waiting:
        waiting.start("/hello", HTTP_X_REQUEST_START=now())
        time.sleep(0.1)
        gate.touch()
        assert timing(waiting.finish().headers)["worker-wait"] >= 95
    client.finish()


def test_without_a_start_no_wait_is_told(telling: tuple[Process, Client]) -> None:
    _, client = telling
    nonsense = client.request("/hello", HTTP_X_REQUEST_START="yesterday")
    for answer in (client.request("/hello"), nonsense):
        assert list(timing(answer.headers)) == ["worker-app"]


@pytest.mark.parametrize(
    ("start", "wait"),
    [
        ("t=1764547200000000", 0.5),
        ("t=1764547200.250", 0.25),
        ("t=1764547201.000", 0.0),  # another machine's clock is ahead
        ("t=1764547200", None),
        ("1764547200.250", None),
        ("t=nan", None),
        ("t=1764547200.250 ", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_start_says(start: str | None, wait: float | None) -> None:
    assert read_wait(start, 1764547200.5) == (wait if wait is None else pytest.approx(wait))


def test_a_line_of_the_log(telling: tuple[Process, Client], tmp_path: Path) -> None:
    process, client = telling
    before = time.time()
    answer = client.request(
        '/hello?"\\\x01ä',
        HTTP_X_REQUEST_ID='quo"te', HTTP_X_REQUEST_START=now(),
        HTTP_TRACEPARENT=f"00-{TRACE}-{SPAN}-01",
    )  # fmt: skip
    client.request("/hello", "HEAD", HTTP_TRACEPARENT=f"ff-{TRACE}-{SPAN}-01")
    first, second = log_lines(tmp_path / "w.log", 2)
    assert before - 1 <= first["start"] <= time.time() + 1
    assert first["milliseconds"]["application"] >= timing(answer.headers)["worker-app"]
    assert first["milliseconds"]["wait"] == timing(answer.headers)["worker-wait"]
    assert first["pid"] in process.children
    known = {name: first[name] for name in ("id", "remote", "method", "path", "status", "bytes")}
    assert known == {
        "id": 'quo"te', "remote": "127.0.0.1", "method": "GET", "path": '/hello?"\\\x01ä',
        "status": 200, "bytes": 6,
    }  # fmt: skip
    assert (first["trace"], first["parent"], first["sampled"]) == (TRACE, SPAN, True)
    assert not first["cut"]
    assert (second["method"], second["bytes"], second["id"]) == ("HEAD", 0, "")
    assert second["milliseconds"]["wait"] is None
    assert "trace" not in second


def test_failures_are_logged_and_told(telling: tuple[Process, Client], tmp_path: Path) -> None:
    _, client = telling
    assert timing(client.request("/raises-at-once").headers)
    with Client(telling[0].wait_until_listening()) as torn:
        assert torn.request(f"/raises-torn?closed={tmp_path}/closed").end is None
    failed, cut = log_lines(tmp_path / "w.log", 2)
    assert (failed["status"], failed["cut"]) == (500, False)
    assert (cut["status"], cut["cut"]) == (200, True)


def test_the_log_is_opened_again(telling: tuple[Process, Client], tmp_path: Path) -> None:
    process, client = telling
    log = tmp_path / "w.log"
    client.request("/hello?first")
    log_lines(log, 1)
    log.rename(tmp_path / "old")
    process.signal(signal.SIGUSR1)
    wait_until(log.exists, "the log is there again")

    def is_written_there() -> bool:
        client.request("/hello?second")
        return "second" in log.read_text()

    wait_until(is_written_there, "the child writes to it")
    (child,) = process.children
    os.kill(child, signal.SIGKILL)  # the next one has the new file from the start
    wait_until(lambda: process.children - {child}, "another child is there")
    with Client(process.wait_until_listening()) as other:
        other.request("/hello?third")
    wait_until(lambda: "third" in log.read_text(), "the new child writes to it, too")
    assert "first" not in log.read_text()
    assert "third" not in (tmp_path / "old").read_text()


def test_a_log_that_cannot_be_reopened_goes_on(
    telling: tuple[Process, Client], tmp_path: Path
) -> None:
    process, client = telling
    log = tmp_path / "w.log"
    log.rename(tmp_path / "old")
    log.mkdir()
    process.signal(signal.SIGUSR1)
    process.wait_for_stderr("w.log: Is a directory; name a writable file", times=2)
    client.request("/hello")
    assert log_lines(tmp_path / "old", 1)[0]["path"] == "/hello"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_no_line_is_lost_when_it_stops(
    telling: tuple[Process, Client], tmp_path: Path, number: signal.Signals
) -> None:
    process, client = telling
    for _ in range(3):
        client.request("/hello")
    process.signal(number)
    assert process.wait() == 0
    assert len((tmp_path / "w.log").read_text().splitlines()) == 3


def test_sigusr1_without_a_log_does_nothing(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    with (
        running_worker(APPLICATION, "--workers", "1", bind=bind, cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        (child,) = process.children
        process.signal(signal.SIGUSR1)
        assert client.request("/hello").status == 200
        assert process.children == {child}


def test_a_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fcgi_worker", APPLICATION, "--bind", f"unix:{tmp_path}/s"]
    done = subprocess.run(
        [*command, "--access-log", "/no/such/file"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "name a writable file" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_the_lines_are_json_whatever_a_client_sends(
    telling: tuple[Process, Client], tmp_path: Path
) -> None:
    _, client = telling
    evil = '", "status": 1}\n{"x": "\u00ff'
    client.request("/hello", HTTP_X_REQUEST_ID=evil, REMOTE_ADDR=evil, HTTP_TRACEPARENT=evil)
    (line,) = log_lines(tmp_path / "w.log", 1)
    assert (line["id"], line["remote"], line["status"]) == (evil, evil, 200)
    assert json.dumps(evil) in (tmp_path / "w.log").read_text()


def test_a_request_that_sigterm_cuts_gets_its_line(
    telling: tuple[Process, Client], tmp_path: Path
) -> None:
    process, client = telling
    client.request("/hello")
    gate = tmp_path / "gate"
    client.start(f"/hold?file={gate}")
    wait_until(Path(f"{gate}.started").exists, "the request runs")
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    whole, cut = log_lines(tmp_path / "w.log", 2)
    assert (whole["path"], whole["cut"]) == ("/hello", False)
    assert (cut["status"], cut["cut"]) == (0, True)
