"""Real web servers before our worker: nginx, lighttpd, and the reference client cgi-fcgi."""

import hashlib
import http.client
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainlab.transport import Address
from servers.app import contract
from tests.fcgi_worker.conftest import APPS, ROOT
from tests.support.peers import need, running_lighttpd, running_nginx
from tests.support.processes import Process, running_worker

NGINX_PARAMS = "".join(
    f"fastcgi_param {name.upper()} ${name};"
    for name in (
        "query_string", "request_method", "content_type", "content_length", "request_uri",
        "document_uri", "remote_addr", "remote_port", "server_addr", "server_port", "server_name",
        "server_protocol",
    )
) + "fastcgi_param PATH_INFO $uri;"  # fmt: skip


@pytest.fixture
def tried(tmp_path: Path) -> Iterator[tuple[Process, Address]]:
    """A worker that serves the applications of PEP 3333's corners."""
    bind = f"unix:{tmp_path}/w.sock"
    options = ("--workers", "2")
    with running_worker(f"{APPS}:application", *options, bind=bind, cwd=ROOT) as worker:
        yield worker


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Address]:
    """A worker that serves the application of the contract."""
    bind = f"unix:{tmp_path}/a.sock"
    with running_worker("servers.app.wsgi:application", "--workers", "3", bind=bind) as (_, where):
        yield where


@pytest.fixture(params=["kept connections", "a connection each", "lighttpd"])
def front(
    request: pytest.FixtureRequest, tmp_path: Path, tried: tuple[Process, Address]
) -> Iterator[http.client.HTTPConnection]:
    """A client of a web server before the worker."""
    backend = tried[1]
    if request.param == "lighttpd":
        manager = running_lighttpd(tmp_path, backend)
    else:
        kept = request.param == "kept connections"
        http_part = f"upstream w {{ server unix:{backend.path}; {'keepalive 8;' if kept else ''} }}"
        keep = "on" if kept else "off"
        passed = f"fastcgi_pass w; fastcgi_keep_conn {keep}; {NGINX_PARAMS}"
        location = (
            f"location / {{ {passed} }} location = /drip {{ {passed} fastcgi_buffering off; }}"
        )
        manager = running_nginx(tmp_path, location, http_part)
    with manager as address:
        connection = http.client.HTTPConnection(str(address), timeout=20)
        yield connection
        connection.close()


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request(method, path, body)
    response = connection.getresponse()
    return response, response.read()


def test_usual_requests(front: http.client.HTTPConnection) -> None:
    for _ in range(5):
        response, body = ask(front, "GET", "/hello")
        assert (response.status, body) == (200, b"hello\n")
    content = os.urandom(300_000)
    length, digest, _ = ask(front, "POST", "/digest", content)[1].decode().split()
    assert (length, digest) == ("300000", hashlib.sha256(content).hexdigest())
    assert len(ask(front, "GET", "/big?pieces=50")[1]) == 50 * 65536
    assert ask(front, "HEAD", "/hello")[1] == b""
    assert ask(front, "GET", "/no-content")[0].status == 204


def test_an_application_that_raises(
    front: http.client.HTTPConnection, tried: tuple[Process, Address]
) -> None:
    response, body = ask(front, "GET", "/raises-at-once")
    assert (response.status, body) == (500, b"Internal Server Error\n")
    assert ask(front, "GET", "/hello")[1] == b"hello\n"
    tried[0].wait_for_stderr("ZeroDivisionError: raised in /raises-at-once")


@pytest.mark.parametrize("front", ["kept connections", "lighttpd"], indirect=True)
def test_a_torn_answer_is_not_passed_off_as_whole(
    front: http.client.HTTPConnection, tmp_path: Path
) -> None:
    """Without fastcgi_keep_conn nginx takes a close for the end, END_REQUEST or not; so does
    lighttpd as long as it has sent nothing, hence the file: the answer has begun when it tears."""
    gate = tmp_path / "gate"
    front.request("GET", f"/raises-torn?closed={tmp_path}/closed&file={gate}")
    response = front.getresponse()
    assert response.read(7) == b"a piece"
    gate.touch()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()


def test_an_answer_streams(front: http.client.HTTPConnection, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    front.request("GET", f"/drip?file={gate}")
    response = front.getresponse()
    assert response.read(5) == b"first"
    gate.touch()
    assert response.read() == b"second"


def test_many_at_once(front: http.client.HTTPConnection) -> None:
    failures: list[object] = []

    def client() -> None:
        connection = http.client.HTTPConnection(front.host, front.port, timeout=20)
        for _ in range(30):
            response, body = ask(connection, "GET", "/hello")
            if (response.status, body) != (200, b"hello\n"):
                failures.append((response.status, body))
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_chunked_upload_has_its_length(
    tmp_path: Path, tried: tuple[Process, Address], buffering: str
) -> None:
    """Without request buffering nginx passes the body on before it knows the length."""
    stock = Path("/etc/nginx/fastcgi_params")
    if not stock.exists():
        pytest.skip("nginx's stock parameters are not installed: sudo apt install nginx-light")
    location = (
        f"location / {{ include {stock}; fastcgi_pass unix:{tried[1].path}; "
        f"fastcgi_request_buffering {buffering}; }}"
    )
    body = os.urandom(3_000_000)
    with running_nginx(tmp_path, location) as address:
        connection = http.client.HTTPConnection(str(address), timeout=20)
        pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
        connection.request("POST", "/measured", pieces, encode_chunked=True)
        length, coding, digest = json.loads(connection.getresponse().read())
        connection.close()
    assert (length, coding) == (str(len(body)), None)
    assert digest == hashlib.sha256(body).hexdigest()


def test_lighttpd_and_the_worker_keep_the_contract(tmp_path: Path, served: Address) -> None:
    with running_lighttpd(tmp_path, served) as address:
        failures = {failure.name for failure in contract.verify(f"http://{address}")}
    # lighttpd itself refuses %00 in a URL, which the contract sends as a bad parameter.
    assert failures == {"parameters"}


def test_cgi_fcgi_asks_over_both_kinds_of_socket(served: Address) -> None:
    program = need("cgi-fcgi", "libfcgi-bin")
    with running_worker("servers.app.wsgi:application", bind="127.0.0.1:0") as (_, tcp):
        for where in (served.path, str(tcp)):
            environment = {
                "REQUEST_METHOD": "GET", "PATH_INFO": "/hello", "SCRIPT_NAME": "",
                "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1",
            }  # fmt: skip
            done = subprocess.run(
                [program, "-bind", "-connect", where],
                env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=20,
                check=False,
            )  # fmt: skip
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            assert head.startswith(b"Status: 200 OK\r\n"), done.stderr
            assert body == b"Hello, world!\n"


def test_cgi_fcgi_sends_a_body(served: Address) -> None:
    program = need("cgi-fcgi", "libfcgi-bin")
    body = b"x" * 100_000
    environment = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/echo", "SCRIPT_NAME": "",
        "CONTENT_LENGTH": str(len(body)), "SERVER_PROTOCOL": "HTTP/1.1",
    }  # fmt: skip
    done = subprocess.run(
        [program, "-bind", "-connect", served.path],
        env=environment, input=body, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.stdout.endswith(b"\r\n\r\n" + body)
