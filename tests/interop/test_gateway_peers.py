"""Our gateway before real back ends: a libfcgi responder in C, nginx as HTTP upstream.

php-fpm and flup stand behind it in tests/chain, with the whole contract.
"""

import os
from pathlib import Path

import pytest

from servers.app import contract
from tests.interop.test_worker_peers import NGINX_PARAMS
from tests.support.gateway import running_gateway
from tests.support.peers import running_libfcgi, running_nginx
from tests.support.processes import running_worker


def test_a_libfcgi_responder_in_c(tmp_path: Path) -> None:
    with (
        running_libfcgi(tmp_path) as backend,
        running_gateway("--fastcgi", str(backend)) as found,
        found.connect() as client,
    ):
        for number in range(5):
            head, body = client.ask("GET", f"/x{number}")
            assert (head.status, body) == (200, f"GET /x{number} ".encode())
        content = os.urandom(50_000)
        assert client.ask("POST", "/p", content)[1] == b"POST /p " + content
        assert client.ask("GET", "/big")[1] == b"0123456789" * 100_000
        head, body = client.ask("GET", "/missing")
        assert (head.status, head.reason, body) == (404, "Gone fishing", b"no")
        head, _ = client.ask("GET", "/redirect")
        assert (head.status, head.headers["Location"]) == (302, "http://example.org/")
        assert client.ask("GET", "/error")[1] == b"done"
        found.process.wait_for_stderr("stderr: said to stderr")
        assert client.ask("HEAD", "/big")[1] == b""
        assert client.ask("GET", "/after")[1] == b"GET /after "


@pytest.mark.parametrize("kept", ["keepalive_timeout 60s;", "keepalive_timeout 0;"])
def test_nginx_as_http_upstream_keeps_the_contract(tmp_path: Path, kept: str) -> None:
    """client → our gateway → nginx → our worker → app."""
    bind = f"unix:{tmp_path}/w.sock"
    location = (
        f"{kept} location / {{ fastcgi_pass unix:{tmp_path}/w.sock; fastcgi_buffering off;"
        f" {NGINX_PARAMS} }}"
    )
    with (
        running_worker("servers.app.wsgi:application", "--workers", "3", bind=bind),
        running_nginx(tmp_path, location) as upstream,
        running_gateway("--http", str(upstream)) as found,
    ):
        assert [str(f) for f in contract.verify(f"http://{found.address}")] == []


def test_nginx_files_through_the_gateway(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "f.bin").write_bytes(content)
    with (
        running_nginx(tmp_path, f"root {tmp_path}; location /empty {{ return 204; }}") as upstream,
        running_gateway("--http", str(upstream)) as found,
        found.connect() as client,
    ):
        assert client.ask("GET", "/f.bin")[1] == content
        head, body = client.ask("GET", "/f.bin", Range="bytes=10-19")
        assert (head.status, body) == (206, content[10:20])
        tag = head.headers["ETag"]
        assert client.ask("GET", "/f.bin", If_None_Match=tag)[0].status == 304
        assert client.ask("HEAD", "/f.bin")[0].headers["Content-Length"] == "3000000"
        assert client.ask("GET", "/empty")[0].status == 204
        assert client.ask("GET", "/none")[0].status == 404
        assert "nginx" not in head.headers["Server"]
