"""What goes wrong behind and before the gateway, and what each side is told of it."""

import contextlib
import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chainlab.transport import Address
from chainlab.wire.fastcgi import OVERLOADED, UNKNOWN_ROLE, Abort
from tests.support.gateway import (
    FastCGIPeer,
    Gateway,
    RawClient,
    Scripted,
    fastcgi,
    running_gateway,
    serve_always,
)
from tests.support.processes import child_pids, open_files, wait_until

OK = b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
ANY = Address("127.0.0.1", 0)


def dies_before_the_head(peer: FastCGIPeer) -> None:
    peer.request()


def talks_nonsense(peer: FastCGIPeer) -> None:
    if peer.request():
        peer.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def sends_no_header(peer: FastCGIPeer) -> None:
    if peer.request():
        peer.answer(b"no header at all\r\n\r\nbody")


def sends_a_huge_header(peer: FastCGIPeer) -> None:
    if peer.request():
        peer.answer(b"X: " + b"x" * 50_000 + b"\r\n\r\nbody")


def sends_an_endless_header(peer: FastCGIPeer) -> None:
    if peer.request():
        for _ in range(100):
            peer.stdout(b"X: " + b"x" * 1000 + b"\r\n")


def ends_without_a_head(peer: FastCGIPeer) -> None:
    if peer.request():
        peer.end()


def splits_the_response(peer: FastCGIPeer) -> None:
    if peer.request():
        peer.answer(b"Location: /\rSet-Cookie: a\r\n\r\n")


def promises_more(peer: FastCGIPeer) -> None:
    if peer.request():
        peer.answer(b"Content-Length: 10\r\n\r\nshort")


def refuses(status: int) -> Callable[[FastCGIPeer], None]:
    def script(peer: FastCGIPeer) -> None:
        if peer.request():
            peer.socket.sendall(peer.protocol.end_request(0, status))

    return script


@pytest.mark.parametrize(
    ("script", "status", "cause"),
    [
        (dies_before_the_head, 502, "closed the connection before the end of the response"),
        (talks_nonsense, 502, "FastCGI protocol error: FastCGI version 72"),
        (sends_no_header, 502, "malformed CGI header line"),
        (sends_a_huge_header, 502, "a response head longer than 32768 bytes"),
        (sends_an_endless_header, 502, "a response head longer than"),
        (ends_without_a_head, 502, "the response ended before the end of its head"),
        (splits_the_response, 502, "malformed CGI header line"),
        (promises_more, 502, "incomplete response"),
        (refuses(UNKNOWN_ROLE), 502, "protocol status 3"),
        (refuses(OVERLOADED), 503, "the application is overloaded"),
    ],
)
def test_a_fastcgi_upstream_that_fails_before_the_response(
    tmp_path: Path, script: Callable[[FastCGIPeer], None], status: int, cause: str
) -> None:
    with (
        fastcgi(tmp_path, script) as back,
        running_gateway("--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        head, _ = client.ask("GET", "/")
        assert head.status == status
        assert (head.headers["Retry-After"] == "1") == (status == 503)
        found.process.wait_for_stderr(cause)
        request_id = re.search(r"\(GET /, id (\w+)\)", found.process.stderr)
        assert request_id
        head, _ = client.ask("GET", "/")  # the client's connection goes on
        assert head.status == status


def http_script(answer: bytes) -> Callable[[socket.socket], None]:
    def script(connection: socket.socket) -> None:
        if connection.recv(65536):
            connection.sendall(answer)

    return script


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"", "closed the connection before the response began"),
        (b"SSH-2.0-OpenSSH\r\n", "not an HTTP/1.1 response"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "invalid response: ",
        ),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 50_000, "a head longer than"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "101"),
    ],
)
def test_an_http_upstream_that_fails_before_the_response(answer: bytes, cause: str) -> None:
    with (
        Scripted(ANY, http_script(answer)) as back,
        running_gateway("--http", str(back.address)) as found,
    ):
        assert found.get("/")[0] == 502
        found.process.wait_for_stderr(cause)


def test_nobody_there(tmp_path: Path) -> None:
    with running_gateway("--fastcgi", f"unix:{tmp_path}/none") as found:
        assert found.get("/")[0] == 502
        found.process.wait_for_stderr("cannot connect: No such file or directory")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refused
        with running_gateway("--http", f"127.0.0.1:{closed.getsockname()[1]}") as found:
            assert found.get("/")[0] == 502
            found.process.wait_for_stderr("cannot connect: Connection refused")


def cuts_after_a_piece(peer: FastCGIPeer) -> None:
    if peer.request():
        peer.stdout(b"Content-Type: text/plain\r\n\r\na piece")


def cuts_before_its_length(peer: FastCGIPeer) -> None:
    if peer.request():
        peer.stdout(b"Content-Length: 100\r\n\r\na piece")
        wait_for_the_client()


def ends_before_its_length(peer: FastCGIPeer) -> None:
    if peer.request():
        peer.stdout(b"Content-Length: 100\r\n\r\na piece")
        wait_for_the_client()
        peer.end()


def wait_for_the_client() -> None:
    """Let the first piece leave the gateway before the cut."""
    time.sleep(0.2)


CUTS = [cuts_after_a_piece, cuts_before_its_length, ends_before_its_length]


@pytest.mark.parametrize("script", CUTS)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_response_cut_off_is_never_passed_off_as_complete(
    tmp_path: Path, script: Callable[[FastCGIPeer], None], version: str
) -> None:
    with (
        fastcgi(tmp_path, script) as back,
        running_gateway("--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        client.send(f"GET / HTTP/{version}\r\nHost: t\r\n\r\n".encode())
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            client.response()
        found.process.wait_for_stderr("[error]")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na piece",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\na piece\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\na piece\r\nnonsense\r\n",
    ],
)
def test_an_http_response_cut_off(answer: bytes) -> None:
    with (
        Scripted(ANY, http_script(answer)) as back,
        running_gateway("--http", str(back.address)) as found,
        found.connect() as client,
    ):
        client.request("GET", "/")
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            client.response()


def test_silence_is_answered_504(tmp_path: Path) -> None:
    def silent(peer: FastCGIPeer) -> None:
        peer.request()
        peer.event()

    with (
        fastcgi(tmp_path, silent) as back,
        running_gateway("--fastcgi", str(back.address), "--read-timeout", "0.3") as found,
    ):
        assert found.get("/")[0] == 504
        found.process.wait_for_stderr("sent no bytes of the response for 0.3 s")


def test_a_full_backlog_is_told_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        with running_gateway("--http", f"unix:{path}") as found:
            assert found.get("/")[0] == 502
            found.process.wait_for_stderr("cannot connect: Resource temporarily unavailable")


def test_a_connection_that_does_not_come_is_answered_504() -> None:
    """A TCP listener with a full backlog drops the handshake: nobody answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        options = ("--http", f"127.0.0.1:{address[1]}", "--connect-timeout", "0.3")
        with running_gateway(*options) as found:
            assert found.get("/")[0] == 504
            found.process.wait_for_stderr("no connection within 0.3 s")
        for filler in fillers:
            filler.close()


def test_an_upstream_that_takes_no_bytes_is_answered_504() -> None:
    release = threading.Event()

    def silent(_connection: socket.socket) -> None:
        release.wait(20)

    options = ("--send-timeout", "0.5", "--body-timeout", "20")
    with (
        Scripted(ANY, silent) as back,
        running_gateway("--http", str(back.address), *options) as found,
        found.connect() as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 60000000\r\n\r\n")

        def flood() -> None:
            try:
                for _ in range(60):
                    client.send(b"x" * 1_000_000)
            except OSError:
                pass

        sender = threading.Thread(target=flood)
        sender.start()
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 504 ")
        found.process.wait_for_stderr("accepted no bytes of the request for 0.5 s")
        release.set()
        client.close()
        sender.join()


# The client's side


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("impatient")
    options = ("--header-timeout", "0.4", "--body-timeout", "0.4", "--idle-timeout", "0.4")
    with (
        fastcgi(folder, serve_always(OK)) as back,
        running_gateway("--fastcgi", str(back.address), *options) as found,
    ):
        yield found


def test_a_head_that_does_not_come_is_answered_408(impatient: Gateway) -> None:
    with impatient.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHo")
        answer = client.read_to_end()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"Connection: close" in answer


def test_a_head_that_drips_gains_no_time(impatient: Gateway) -> None:
    with impatient.connect() as client:
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.05):
                try:
                    client.send(b"X")
                except OSError:
                    return

        client.send(b"GET / HTTP/1.1\r\nX-")
        sender = threading.Thread(target=drip)
        sender.start()
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 408 ")
        stop.set()
        sender.join()


def test_a_body_that_does_not_come_is_answered_408(impatient: Gateway) -> None:
    with impatient.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n123")
        assert client.read_to_end().startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed_without_a_word(impatient: Gateway) -> None:
    with impatient.connect() as client:
        client.ask("GET", "/")
        assert client.closed_by_peer
    with impatient.connect() as client:  # and one that never asked
        assert client.closed_by_peer


@contextlib.contextmanager
def left_by_a_client(
    folder: Path, script: Callable[[FastCGIPeer], None], path: str
) -> Iterator[Gateway]:
    """A gateway with one connection to a back end, which runs what nobody waits for any more."""
    with (
        fastcgi(folder, script, FCGI_MAX_CONNS="1", FCGI_MAX_REQS="1") as back,
        running_gateway("--fastcgi", str(back.address)) as found,
    ):
        with found.connect() as client:
            client.request("GET", path)
            wait_until(lambda: back.accepted >= 2, "the request runs")
        yield found


def test_a_client_that_leaves_frees_a_fastcgi_upstream(tmp_path: Path) -> None:
    aborted = threading.Event()

    def script(peer: FastCGIPeer) -> None:
        first = peer.request()
        if first is None:
            return
        if first.params["PATH_INFO"] == "/wait":
            if isinstance(peer.event(), Abort):
                aborted.set()
            peer.end()
        else:
            peer.answer(OK)
        while peer.request() is not None:
            peer.answer(OK)

    with left_by_a_client(tmp_path, script, "/wait") as found:
        assert aborted.wait(20)
        assert found.get("/")[0] == 200  # the only slot is free again


def test_an_answer_that_crosses_the_abort_costs_the_next_request_nothing(tmp_path: Path) -> None:
    """The back end is strict: what finds no request to abort makes it hang up, as libfcgi does."""

    def script(peer: FastCGIPeer) -> None:
        first = peer.request()
        if first is not None and first.params["PATH_INFO"] == "/leaves":
            time.sleep(0.2)  # the client leaves, and its abort waits here unread
            peer.end()
            return
        while first is not None:
            peer.answer(OK)
            first = peer.request()

    with (
        left_by_a_client(tmp_path, script, "/leaves") as found,
        found.connect() as client,
    ):
        client.request("POST", "/next", b"is never sent twice")
        assert client.response()[0].status == 200


def test_a_client_that_leaves_the_queue_costs_nothing(tmp_path: Path) -> None:
    go_on = threading.Event()
    log = tmp_path / "access.log"
    served: list[str] = []

    def script(peer: FastCGIPeer) -> None:
        while (request := peer.request()) is not None:
            served.append(request.params["PATH_INFO"])
            assert go_on.wait(20)
            peer.answer(OK)

    with (
        fastcgi(tmp_path, script, FCGI_MAX_CONNS="1", FCGI_MAX_REQS="1") as back,
        running_gateway("--fastcgi", str(back.address), "--access-log", str(log)) as found,
        found.connect() as first,
        found.connect() as last,
    ):
        first.request("GET", "/first")
        wait_until(lambda: served == ["/first"], "the first request runs")
        with found.connect() as second:
            second.request("GET", "/second")
        wait_until(lambda: '"GET /second HTTP/1.1" 499' in log.read_text(), "it has left")
        last.request("GET", "/last")
        go_on.set()
        assert first.response()[0].status == 200
        assert last.response()[0].status == 200
    assert served == ["/first", "/last"]


def closes_when_idle(peer: FastCGIPeer) -> None:
    """Answer once, then close as soon as the next request arrives."""
    if peer.request() is not None:
        peer.answer(OK)
        peer.request()


def test_a_stale_kept_connection_is_tried_again_where_that_is_harmless(tmp_path: Path) -> None:
    with (
        fastcgi(tmp_path, closes_when_idle) as back,
        running_gateway("--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        for _ in range(2):
            assert client.ask("GET", "/")[0].status == 200
        # A POST has been sent: nobody knows what it did.
        assert client.ask("POST", "/", b"x")[0].status == 502


def test_a_back_end_that_keeps_no_connection_is_found_out(tmp_path: Path) -> None:
    with (
        fastcgi(tmp_path, closes_when_idle) as back,
        running_gateway("--fastcgi", str(back.address)) as found,
        found.connect() as client,
    ):
        for _ in range(4):  # three connections die after their first answer
            assert client.ask("GET", "/")[0].status == 200
        for _ in range(4):  # no kept one is used any more, and no request lost
            assert client.ask("POST", "/", b"x")[0].status == 200


def test_a_response_before_the_request_is_read_ends_the_connection(tmp_path: Path) -> None:
    def answers_early(peer: FastCGIPeer) -> None:
        if peer.event() is not None:
            peer.answer(b"Status: 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            peer.event()

    with (
        fastcgi(tmp_path, answers_early) as back,
        running_gateway("--fastcgi", str(back.address), "--no-request-buffering") as found,
        found.connect() as client,
    ):
        client.send(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\nstart")
        head, body = client.response()
        assert (head.status, body) == (403, b"no")
        assert head.headers["Connection"] == "close"


def test_running_out_of_descriptors_is_survived(tmp_path: Path) -> None:
    with fastcgi(tmp_path, serve_always(OK)) as back:
        command = ("--fastcgi", str(back.address))
        with running_limited(command, 100) as found:
            (serving,) = child_pids(found.process.pid)
            crowd = [found.connect() for _ in range(150)]
            found.process.wait_for_stderr("pausing accept for a moment")
            before = cpu_ticks(serving)
            time.sleep(1)
            assert cpu_ticks(serving) - before < 50  # it does not spin (100 ticks are a second)
            for member in crowd:
                member.close()
            assert found.get("/")[0] == 200
            idle = [found.connect() for _ in range(20)]
            for member in idle:  # each that has been served makes room for the next
                assert member.ask("GET", "/")[0].status == 200
            for member in idle:
                member.close()


def running_limited(options: tuple[str, ...], descriptors: int) -> "LimitedGateway":
    return LimitedGateway(options, descriptors)


class LimitedGateway:
    """A gateway that may hold few descriptors."""

    def __init__(self, options: tuple[str, ...], descriptors: int) -> None:
        self._options = options
        self._descriptors = descriptors

    def __enter__(self) -> Gateway:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._descriptors, limit[1]))
        try:
            self._manager = running_gateway(*self._options)
            return self._manager.__enter__()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)

    def __exit__(self, *details: object) -> None:
        self._manager.__exit__(None, None, None)


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_many_clients_that_reset_are_survived(tmp_path: Path) -> None:
    with (
        fastcgi(tmp_path, serve_always(OK)) as back,
        running_gateway("--fastcgi", str(back.address)) as found,
    ):
        for _ in range(50):
            with found.connect() as client:
                client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
                reset = b"\x01\0\0\0\0\0\0\0"  # SO_LINGER of no time: RST
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        (serving,) = child_pids(found.process.pid)

        def all_closed() -> bool:
            return sum(name.startswith("socket:") for name in open_files(serving)) < 20

        assert found.get("/")[0] == 200
        wait_until(all_closed, "the sockets of the reset connections are closed")
        assert "bug" not in found.process.stderr


def test_raw_client_is_used_as_a_context(impatient: Gateway) -> None:
    with impatient.connect() as client:
        assert isinstance(client, RawClient)
