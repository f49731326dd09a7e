"""The locustfile under real locust: every route verified, a wrong answer is a failure."""

import csv
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab.chain.load import LOCUSTFILE, ROUTES, locust_command
from tests.support.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as found:
        yield found


def test_every_route_is_driven_and_verified(lab: Lab) -> None:
    lab.up()
    done = lab.run("load", "--users", "5", "--duration", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout + done.stderr
    assert all(f"/{route}" in table for route in ROUTES), table


def test_one_route_only(lab: Lab) -> None:
    lab.up()
    done = lab.run("load", "--users", "2", "--duration", "2", "--route", "json")
    table = done.stdout + done.stderr
    assert done.returncode == 0, table
    assert "/json" in table
    assert "/hello" not in table


class Liar(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"quick")

    def log_message(self, *_: object) -> None:
        pass


def test_a_wrong_answer_is_a_failure_and_is_recorded(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        record = tmp_path / "requests.csv"
        command = locust_command(
            f"http://127.0.0.1:{server.server_port}",
            users=2, rate=2, seconds=2, routes=["hello"], record=record,
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        server.shutdown()
        thread.join()
    assert done.returncode == 1
    with record.open(newline="") as lines:
        rows = list(csv.reader(lines))
    assert rows
    assert all("a wrong answer of 5 bytes" in failure for _, _, _, failure in rows)


def test_several_processes_cannot_record_to_one_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one file in one process, not in 2"):
        locust_command(
            "http://127.0.0.1", users=2, rate=2, seconds=1,
            record=tmp_path / "requests.csv", processes=2,
        )  # fmt: skip


def test_plain_locust_takes_the_file() -> None:
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "ChainUser" in done.stdout
