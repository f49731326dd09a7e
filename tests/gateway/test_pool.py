"""Sharing back ends: who is asked, how many at once, who waits, and who is turned away."""

import select
import threading
from collections import Counter
from pathlib import Path

from tests.support.gateway import (
    FastCGIPeer,
    Gateway,
    RawClient,
    fastcgi,
    running_gateway,
    serve_always,
)
from tests.support.processes import wait_until

OK = b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Busy:
    """A script that holds every request until it is let go, and notes the order."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()
        self.turn = threading.Semaphore(0)

    def __call__(self, peer: FastCGIPeer) -> None:
        while (request := peer.request()) is not None:
            with self._lock:
                self.served.append(request.params["PATH_INFO"])
                self.running += 1
                self.most = max(self.most, self.running)
            assert self.turn.acquire(timeout=20)
            with self._lock:
                self.running -= 1
            peer.answer(OK)


def ask_all(found: Gateway, count: int) -> list[RawClient]:
    clients = []
    for number in range(count):
        client = found.connect()
        client.request("GET", f"/{number}")
        clients.append(client)
    return clients


def test_never_more_than_the_upstream_says_and_first_come_first_served(tmp_path: Path) -> None:
    busy = Busy()
    with (
        fastcgi(tmp_path, busy, FCGI_MAX_CONNS="2", FCGI_MAX_REQS="2") as back,
        running_gateway("--fastcgi", str(back.address)) as found,
    ):
        clients = ask_all(found, 2)
        wait_until(lambda: len(busy.served) == 2, "two requests run")
        for number in range(2, 8):  # one after the other: their order is certain
            client = found.connect()
            client.request("GET", f"/{number}")
            clients.append(client)
        busy.turn.release(len(clients))
        for client in clients:
            assert client.response()[1] == b"ok"
            client.close()
        assert busy.most == 2
        assert sorted(busy.served[:2]) == ["/0", "/1"]
        assert set(busy.served) == {f"/{number}" for number in range(8)}
        assert back.accepted == 2 + 1  # and the question


def test_a_full_queue_turns_away_with_retry_after(tmp_path: Path) -> None:
    busy = Busy()
    with fastcgi(tmp_path, busy, FCGI_MAX_CONNS="1") as back:
        config = tmp_path / "g.toml"
        config.write_text(
            f'listen = ["127.0.0.1:0"]\n[log]\naccess = "off"\n[upstream.app]\n'
            f'protocol = "fastcgi"\naddresses = ["{back.address}"]\nqueue = 2\n'
        )
        with running_gateway("--config", str(config)) as found:
            first = ask_all(found, 1)
            wait_until(lambda: busy.served == ["/0"], "one request runs")
            waiting = ask_all(found, 4)
            answers: Counter[int] = Counter()
            sockets = [client.socket for client in waiting]
            wait_until(
                lambda: len(select.select(sockets, [], [], 0)[0]) == 2, "two are turned away"
            )
            busy.turn.release(3)
            for client in first + waiting:
                head, _ = client.response()
                answers[head.status] += 1
                if head.status == 503:
                    assert head.headers["Retry-After"] == "1"
                client.close()
    assert answers == {200: 3, 503: 2}


def test_waiting_too_long_ends_in_503(tmp_path: Path) -> None:
    busy = Busy()
    with (
        fastcgi(tmp_path, busy, FCGI_MAX_CONNS="1") as back,
        running_gateway("--fastcgi", str(back.address), "--queue-timeout", "0.4") as found,
    ):
        (first,) = ask_all(found, 1)
        wait_until(lambda: busy.served == ["/0"], "one request runs")
        head, _ = (second := found.connect()).ask("GET", "/second")
        assert head.status == 503
        found.process.wait_for_stderr("no free connection within 0.4 s")
        busy.turn.release()
        assert first.response()[1] == b"ok"
        first.close()
        second.close()


def write_config(path: Path, addresses: list[str], balance: str) -> Path:
    listed = ", ".join(f'"{address}"' for address in addresses)
    path.write_text(
        f'listen = ["127.0.0.1:0"]\n[log]\naccess = "off"\n[upstream.app]\n'
        f'protocol = "fastcgi"\naddresses = [{listed}]\nbalance = "{balance}"\n'
    )
    return path


def named(name: bytes) -> bytes:
    return b"Content-Type: text/plain\r\n\r\n" + name


def test_round_robin_takes_turns(tmp_path: Path) -> None:
    with (
        fastcgi(tmp_path, serve_always(named(b"a")), "a") as a,
        fastcgi(tmp_path, serve_always(named(b"b")), "b") as b,
        fastcgi(tmp_path, serve_always(named(b"c")), "c") as c,
    ):
        addresses = [str(back.address) for back in (a, b, c)]
        config = write_config(tmp_path / "g.toml", addresses, "round-robin")
        with running_gateway("--config", str(config)) as found, found.connect() as client:

            def ask(times: int) -> list[bytes]:
                return [client.ask("GET", "/")[1] for _ in range(times)]

            # One that has not yet said how much it takes is not asked.
            wait_until(lambda: len(set(ask(3))) == 3, "all are asked")
            bodies = ask(9)
    assert Counter(bodies) == {b"a": 3, b"b": 3, b"c": 3}
    assert bodies[:3] == bodies[3:6]


class Stuck:
    """A script that holds the request for /0 until it is let go, and names itself to others."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.holds = threading.Event()
        self.turn = threading.Event()

    def __call__(self, peer: FastCGIPeer) -> None:
        while (request := peer.request()) is not None:
            if request.params["PATH_INFO"] == "/0":
                self.holds.set()
                assert self.turn.wait(60)
            peer.answer(b"Content-Type: text/plain\r\n\r\n" + self.name)


def test_least_connections_avoids_the_busy_one(tmp_path: Path) -> None:
    scripts = Stuck(b"a"), Stuck(b"b")
    with fastcgi(tmp_path, scripts[0], "a") as a, fastcgi(tmp_path, scripts[1], "b") as b:
        config = write_config(
            tmp_path / "g.toml", [str(a.address), str(b.address)], "least-connections"
        )
        with running_gateway("--config", str(config)) as found, found.connect() as client:
            (stuck,) = ask_all(found, 1)
            wait_until(lambda: any(each.holds.is_set() for each in scripts), "one is stuck")
            busy, other = sorted(scripts, key=lambda each: not each.holds.is_set())

            def ask() -> bytes:
                return client.ask("GET", "/")[1]

            # Until the other has said how much it takes, it is not asked.
            wait_until(lambda: ask() == other.name, "the other one is asked")
            bodies = [ask() for _ in range(10)]
            busy.turn.set()
            assert stuck.response()[1] == busy.name
            stuck.close()
    assert bodies == [other.name] * 10


def test_a_dead_address_costs_no_request(tmp_path: Path) -> None:
    with fastcgi(tmp_path, serve_always(OK), "a") as a:
        addresses = [f"unix:{tmp_path}/dead", str(a.address)]
        config = write_config(tmp_path / "g.toml", addresses, "round-robin")
        with running_gateway("--config", str(config)) as found, found.connect() as client:
            for _ in range(20):
                assert client.ask("GET", "/")[0].status == 200
            found.process.wait_for_stderr("trying the next address")


def test_all_addresses_dead(tmp_path: Path) -> None:
    addresses = [f"unix:{tmp_path}/dead", f"unix:{tmp_path}/dead2"]
    config = write_config(tmp_path / "g.toml", addresses, "least-connections")
    with running_gateway("--config", str(config)) as found, found.connect() as client:
        for _ in range(3):
            assert client.ask("GET", "/")[0].status == 502


def test_an_upstream_that_starts_later_is_asked_again(tmp_path: Path) -> None:
    busy = Busy()
    with running_gateway("--fastcgi", f"unix:{tmp_path}/app.sock") as found:
        assert found.get("/")[0] == 502
        with fastcgi(tmp_path, busy, FCGI_MAX_CONNS="1") as back:
            clients = ask_all(found, 1)
            wait_until(lambda: back.accepted == 2, "it is asked, and asked how many it takes")
            busy.turn.release()
            assert clients[0].response()[1] == b"ok"
            clients += ask_all(found, 3)
            for _ in range(3):
                busy.turn.release()
            for client in clients[1:]:
                assert client.response()[1] == b"ok"
            assert busy.most == 1
            for client in clients:
                client.close()


def test_pipelined_requests_share_one_connection(tmp_path: Path) -> None:
    """The next request finds the connection free, though it came before the answer had left."""
    with (
        fastcgi(tmp_path, serve_always(OK), FCGI_MAX_CONNS="5") as back,
        running_gateway("--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        client.ask("GET", "/")
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        answers = b""
        while answers.count(b"\r\n\r\nok") < 20:
            answers += client.read_until(b"\r\n\r\nok")
        assert answers.count(b"HTTP/1.1 200 OK\r\n") == 20
        assert back.accepted == 1 + 1  # and the question


def test_a_queue_without_a_back_end_ends_in_503(tmp_path: Path) -> None:
    """No socket matches the pattern: a request waits its time, and is not forgotten."""
    nobody = f"unix:{tmp_path}/none-*.sock"
    with running_gateway("--fastcgi", nobody, "--queue-timeout", "0.4") as found:
        assert found.get("/")[0] == 503
        found.process.wait_for_stderr("no free connection within 0.4 s")
        assert "bug" not in found.process.stderr
