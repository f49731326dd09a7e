"""Back ends that come and go while the gateway serves: several addresses behind one name."""

import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from chainlab.transport import Address, parse_address
from gateway.discovery import is_moving, look_up
from tests.support.gateway import FastCGIPeer, fastcgi, running_gateway
from tests.support.processes import wait_until


@pytest.mark.parametrize(
    ("text", "moving"),
    [
        ("127.0.0.1:9000", False),
        ("[::1]:9000", False),
        ("unix:/run/app.sock", False),
        ("unix:/run/app.*.sock", True),
        ("fcgi_worker:9000", True),
    ],
)
def test_names_and_patterns_move_the_rest_does_not(text: str, moving: bool) -> None:
    assert is_moving(parse_address(text)) is moving


def test_a_pattern_stands_for_sockets_in_order_and_not_for_files(tmp_path: Path) -> None:
    (tmp_path / "app.0.sock").touch()
    with contextlib.ExitStack() as stack:
        for number in (2, 1):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(tmp_path / f"app.{number}.sock"))
        pattern = Address(path=str(tmp_path / "app.*.sock"))
        first = Address(path=str(tmp_path / "app.1.sock"))
        assert look_up([first, pattern]) == (first, Address(path=str(tmp_path / "app.2.sock")))


def test_a_name_stands_for_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(host: str, port: int, **_: object) -> list[Any]:
        if host != "replicas":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, (ip, port)) for ip in ("10.0.0.3", "10.0.0.2")]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    found = look_up([Address("replicas", 9000), Address("nobody", 9000)])
    assert list(map(str, found)) == ["10.0.0.2:9000", "10.0.0.3:9000"]


class Named:
    """A script that answers with its name."""

    def __init__(self, name: str) -> None:
        self._answer = f"Content-Length: {len(name)}\r\n\r\n{name}".encode()

    def __call__(self, peer: FastCGIPeer) -> None:
        while peer.request() is not None:
            peer.answer(self._answer)


def test_replicas_are_found_and_let_go_while_requests_go_on(tmp_path: Path) -> None:
    pattern = f"unix:{tmp_path}/app.*.sock"
    with (
        fastcgi(tmp_path, Named("a"), "app.a.sock"),
        running_gateway("--fastcgi", pattern) as found,
    ):

        def answers() -> set[str]:
            got = [found.get("/") for _ in range(4)]
            assert {status for status, _ in got} == {200}
            return {body.decode() for _, body in got}

        assert answers() == {"a"}
        with fastcgi(tmp_path, Named("b"), "app.b.sock"):
            wait_until(lambda: answers() == {"a", "b"}, "the second one is found")
            (tmp_path / "app.a.sock").unlink()
            wait_until(lambda: answers() == {"b"}, "the first one gets no more")


def test_requests_wait_for_a_back_end_that_is_not_there_yet(tmp_path: Path) -> None:
    pattern = f"unix:{tmp_path}/app.*.sock"
    with running_gateway("--fastcgi", pattern) as found, found.connect() as client:
        client.request("GET", "/")
        with fastcgi(tmp_path, Named("late"), "app.late.sock"):
            assert client.response()[1] == b"late"


def test_a_request_that_its_back_end_died_on_is_answered_by_another(tmp_path: Path) -> None:
    def die(peer: FastCGIPeer) -> None:
        peer.request()

    addresses = [str(tmp_path / name) for name in ("dies.sock", "lives.sock")]
    options = [option for path in addresses for option in ("--fastcgi", f"unix:{path}")]
    with (
        fastcgi(tmp_path, die, "dies.sock") as dead,
        fastcgi(tmp_path, Named("lives"), "lives.sock"),
        running_gateway(*options) as found,
    ):
        questions = dead.accepted
        for _ in range(6):
            assert found.get("/") == (200, b"lives")
        wait_until(lambda: dead.accepted > questions, "the one that dies has been asked")
        with found.connect() as client:
            wait_until(
                lambda: client.ask("POST", "/", b"x")[0].status == 502,
                "what may not be sent twice is not",
            )
