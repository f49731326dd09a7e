"""Slow clients do not hold the workers: bodies and responses are buffered, and every wait ends."""

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chainlab.transport import Address
from tests.support.gateway import (
    FastCGIPeer,
    Gateway,
    RawClient,
    fastcgi,
    running_gateway,
    serve_always,
)
from tests.support.processes import child_pids, open_files, running_worker, wait_until

OK = b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
WORKERS = 4
LARGE = 20_000_000  # more than any socket buffer holds


@pytest.fixture
def before_four_workers(tmp_path: Path) -> Iterator[Gateway]:
    bind = f"unix:{tmp_path}/w.sock"
    worker = running_worker("servers.app.wsgi:application", "--workers", str(WORKERS), bind=bind)
    with worker, running_gateway("--fastcgi", bind) as found:
        yield found


def test_slow_uploads_hold_no_worker(before_four_workers: Gateway) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(before_four_workers.connect()) for _ in range(2 * WORKERS)]
        for client in crowd:
            client.send(b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\n\r\nabc")
        assert before_four_workers.get("/hello")[0] == 200
        for client in crowd:
            client.send(b"def")
            assert client.response()[1] == b"abcdef"


def test_downloads_that_nobody_reads_hold_no_worker(before_four_workers: Gateway) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(before_four_workers.connect()) for _ in range(2 * WORKERS)]
        for client in crowd:
            client.request("GET", f"/bytes?n={LARGE}")
        assert before_four_workers.get("/hello")[0] == 200
        for client in crowd:
            assert len(client.response()[1]) == LARGE


def test_what_is_buffered_for_a_client_goes_with_it(before_four_workers: Gateway) -> None:
    (serving,) = child_pids(before_four_workers.process.pid)

    def buffers() -> list[str]:
        return [path for path in open_files(serving) if "(deleted)" in path]

    with before_four_workers.connect() as client:
        client.request("GET", f"/bytes?n={LARGE}")
        wait_until(buffers, "the response is in a file")
    wait_until(lambda: not buffers(), "the file is deleted")


def write_config(folder: Path, back: Address, *, upstream: str = "", limits: str = "") -> Path:
    path = folder / "g.toml"
    path.write_text(
        f'listen = ["127.0.0.1:0"]\n[log]\naccess = "off"\n[limits]\n{limits}\n[upstream.app]\n'
        f'protocol = "fastcgi"\naddresses = ["{back}"]\n{upstream}\n'
    )
    return path


class Source:
    """A back end that sends without end, and counts what was taken."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.sent = 0
        self.aborted = False

    def __call__(self, peer: FastCGIPeer) -> None:
        if peer.request() is None:
            return
        peer.stdout(self.head + b"\r\n\r\n")
        try:
            while self.sent < 10 * LARGE:
                peer.stdout(b"x" * 50_000)
                self.sent += 50_000
        except OSError:
            self.aborted = True


@pytest.mark.parametrize(
    ("head", "upstream", "limits"),
    [
        (b"Content-Type: text/event-stream", "", ""),
        (b"X-Accel-Buffering: no", "", ""),
        (b"Content-Type: text/plain", "response_buffering = false", ""),
        (b"Content-Type: text/plain", "", "spool_response = 1000000"),
        (b"Content-Type: text/plain", "", "spool = 1000000"),
    ],
)
def test_a_stream_is_bounded_by_its_reader(
    tmp_path: Path, head: bytes, upstream: str, limits: str
) -> None:
    source = Source(head)
    with fastcgi(tmp_path, source) as back:
        config = write_config(tmp_path, back.address, upstream=upstream, limits=limits)
        with running_gateway("--config", str(config)) as found, found.connect() as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.request("GET", "/")
            first = client.read_until(b"xxx")
            assert b"X-Accel" not in first
            taken = [-2, -1]
            while taken[-1] != taken[-2]:  # until every buffer on the way is full
                time.sleep(0.3)
                taken.append(source.sent)
            assert source.sent < LARGE
        wait_until(lambda: source.aborted, "the reader has left, so the source ends")


def test_an_upload_that_stalls_after_a_streamed_answer_ends(tmp_path: Path) -> None:
    """The client reads an answer that came before its upload ended, and sends no more."""

    def answers_early(peer: FastCGIPeer) -> None:
        if peer.event() is None:
            return
        peer.stdout(b"Content-Type: text/plain\r\n\r\n")
        for _ in range(LARGE // 50_000):
            peer.stdout(b"x" * 50_000)
        while peer.event() is not None:
            pass

    timeouts = [f"--{name}-timeout=1" for name in ("connect", "send", "read", "body")]
    with (
        fastcgi(tmp_path, answers_early) as back,
        running_gateway(
            "--fastcgi", str(back.address), "--no-request-buffering", *timeouts
        ) as found,
        found.connect() as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n12345")
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            client.response()


def test_a_connection_that_answers_nothing_more_is_let_go(tmp_path: Path) -> None:
    """Whatever the state, a client that stops has a limit, and its connection is freed."""
    with (
        fastcgi(tmp_path, serve_always(OK)) as back,
        running_gateway(
            "--fastcgi", str(back.address), "--body-timeout=0.3", "--header-timeout=0.3",
            "--idle-timeout=0.3", "--send-timeout=0.3",
        ) as found,
    ):  # fmt: skip
        silent: dict[str, tuple[bytes, bytes]] = {
            "before a request": (b"", b""),
            "in a head": (b"GET / HTTP/1.1\r\nHo", b" 408 "),
            "in a body": (b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nabc", b" 408 "),
            "between requests": (b"GET / HTTP/1.1\r\nHost: t\r\n\r\n", b" 200 "),
        }
        for state, (sent, expected) in silent.items():
            with RawClient(found.address) as client:
                client.send(sent)
                assert expected in client.read_to_end(), state
