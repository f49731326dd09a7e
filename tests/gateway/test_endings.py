"""Every exchange ends once, whatever comes together; nothing recurses; equals take turns."""

import json
import os
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.support.gateway import FastCGIPeer, fastcgi, running_gateway, serve_always
from tests.support.processes import child_pids, wait_until

OK = b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


def test_a_client_and_its_back_end_that_fail_together_end_one_exchange(tmp_path: Path) -> None:
    """Both events are in one batch, because the gateway is stopped while they happen."""
    asked, fail = threading.Event(), threading.Event()

    def dies_when_told(peer: FastCGIPeer) -> None:
        if peer.request():
            asked.set()
            fail.wait(20)

    log = tmp_path / "access.log"
    with (
        fastcgi(tmp_path, dies_when_told) as back,
        running_gateway(
            "--fastcgi", str(back.address), "--access-log", str(log), "--log-format", "json"
        ) as found,
    ):
        (serving,) = child_pids(found.process.pid)
        for number in range(1, 6):
            asked.clear()
            fail.clear()
            with found.connect() as client:
                client.request("GET", f"/{number}")
                assert asked.wait(20)
                os.kill(serving, signal.SIGSTOP)
                reset = struct.pack("ii", 1, 0)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            fail.set()
            os.kill(serving, signal.SIGCONT)
            line = f"GET /{number} "
            wait_until(lambda: log.exists() and line in log.read_text(), "it is logged")  # noqa: B023
        found.process.signal(signal.SIGUSR1)
        lines = [json.loads(line)["request"] for line in log.read_text().splitlines()]
        assert Counter(lines) == Counter(f"GET /{n} HTTP/1.1" for n in range(1, 6))
        assert "bug" not in found.process.stderr
        assert child_pids(found.process.pid) == {serving}


def test_hundreds_of_back_ends_that_refuse_are_one_502(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: it refuses
        port = closed.getsockname()[1]
        addresses = [f'"127.0.{n // 250}.{n % 250 + 1}:{port}"' for n in range(600)]
        config = tmp_path / "g.toml"
        config.write_text(
            f'listen = ["127.0.0.1:0"]\n[log]\naccess = "off"\n[upstream.app]\n'
            f'protocol = "http"\naddresses = [{", ".join(addresses)}]\nconnections = 1\n'
        )
        with running_gateway("--config", str(config)) as found:
            assert found.get("/")[0] == 502
            assert "bug" not in found.process.stderr
            assert found.process.stderr.count("trying the next address") == 599


def test_equally_busy_back_ends_take_turns(tmp_path: Path) -> None:
    served: Counter[str] = Counter()

    def counting(name: str) -> Callable[[FastCGIPeer], None]:
        def script(peer: FastCGIPeer) -> None:
            while peer.request() is not None:
                served[name] += 1
                peer.answer(OK)

        return script

    with (
        fastcgi(tmp_path, counting("a"), "a.sock") as first,
        fastcgi(tmp_path, counting("b"), "b.sock") as second,
    ):
        config = tmp_path / "g.toml"
        config.write_text(
            f'listen = ["127.0.0.1:0"]\n[log]\naccess = "off"\n[upstream.app]\n'
            f'protocol = "fastcgi"\nbalance = "least-connections"\n'
            f'addresses = ["{first.address}", "{second.address}"]\n'
        )
        with running_gateway("--config", str(config)) as found, found.connect() as client:
            for _ in range(10):
                assert client.ask("GET", "/")[0].status == 200
    assert min(served.values()) >= 4  # the first may find one back end not yet asked its limit


def test_a_fastcgi_back_end_that_closes_after_each_answer_is_learnt(tmp_path: Path) -> None:
    """It says it keeps connections and does not: after three, none is used twice."""

    def closes(peer: FastCGIPeer) -> None:
        if peer.request() is not None:
            peer.answer(OK)

    with (
        fastcgi(tmp_path, closes) as back,
        running_gateway("--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        for _ in range(4):
            before = back.accepted
            assert client.ask("GET", "/")[0].status == 200
            wait_until(lambda: back.accepted > before, "a connection of its own")  # noqa: B023
        for _ in range(20):  # a POST is never sent twice, so a race would be a 502
            assert client.ask("POST", "/", b"x")[0].status == 200


def test_thousands_of_pipelined_requests_are_all_answered(tmp_path: Path) -> None:
    count = 2000
    with (
        fastcgi(tmp_path, serve_always(OK)) as back,
        running_gateway("--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        sender = threading.Thread(
            target=client.send, args=(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * count,)
        )
        sender.start()
        received = b""
        while received.count(b"\r\n\r\nok") < count:
            received += client.socket.recv(65536)
        assert received.count(b"HTTP/1.1 200 OK\r\n") == count
        sender.join(20)


def test_a_request_that_a_back_end_worked_on_is_not_sent_to_it_again(tmp_path: Path) -> None:
    """A kept connection that ends at once may have died while idle; this one was at work."""
    worked: list[str] = []

    def dies_at_work(peer: FastCGIPeer) -> None:
        while (request := peer.request()) is not None:
            if request.params["PATH_INFO"] == "/deadly":
                worked.append("/deadly")
                time.sleep(1.0)  # it works until a supervisor ends it
                return
            peer.answer(OK)

    with (
        fastcgi(tmp_path, dies_at_work) as back,
        running_gateway("--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        assert client.ask("GET", "/")[0].status == 200
        assert client.ask("GET", "/deadly")[0].status == 502
        assert client.ask("GET", "/")[0].status == 200
    assert worked == ["/deadly"]


def test_the_access_log_counts_no_content_for_head(tmp_path: Path) -> None:
    """The back end sends content that HEAD does not allow: at once, and in pieces."""

    def answers_twice(peer: FastCGIPeer) -> None:
        if peer.request() is None:
            return  # the question about limits has a connection of its own
        peer.answer(b"Content-Type: text/plain\r\n\r\nat once")
        peer.request()
        peer.stdout(b"Content-Type: text/plain\r\n\r\nin ")
        time.sleep(0.05)  # so that the pieces need two reads
        peer.stdout(b"pieces")
        peer.end()
        peer.request()

    log = tmp_path / "access.log"
    with (
        fastcgi(tmp_path, answers_twice) as back,
        running_gateway("--fastcgi", str(back.address), "--access-log", str(log)) as found,
        found.connect() as client,
    ):
        for _ in range(2):
            assert client.ask("HEAD", "/")[1] == b""
        wait_until(lambda: log.read_text().count(" 200 ") == 2, "both are logged")
    assert log.read_text().count('"HEAD / HTTP/1.1" 200 0 ') == 2
