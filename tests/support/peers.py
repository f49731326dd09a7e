"""The real programs that our parts are tried against, each from a configuration of the test's own.

What a machine lacks is skipped with the command that installs it; CI installs all of them.
"""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainlab.transport import Address
from lab.chain.processes import accepts, free_port
from tests.support.processes import Process, wait_until

_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


def need(program: str, package: str) -> str:
    """Return the path of `program`; skip the test when it is not installed."""
    found = shutil.which(program, path=_PATH)
    if found is None:
        pytest.skip(f"{program} is not installed: sudo apt install {package}")
    return found


@contextlib.contextmanager
def running(command: list[str], address: Address, cwd: Path) -> Iterator[Process]:
    """Run a peer until the block ends; it is ready when `address` takes connections."""
    with Process(command, cwd=cwd) as process:
        wait_until(lambda: accepts(address), f"{command[0]} listens")
        yield process


@contextlib.contextmanager
def running_nginx(folder: Path, server: str, http: str = "") -> Iterator[Address]:
    """Run nginx with `server` inside its server block and `http` inside its http block."""
    program = need("nginx", "nginx-light")
    address = Address("127.0.0.1", free_port())
    user = "user root;" if os.getuid() == 0 else ""
    temps = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"{user} daemon off; pid {folder}/nginx.pid; error_log stderr info;\n"
        f"events {{ worker_connections 2048; }}\n"
        f"http {{ access_log off; {temps} client_max_body_size 100m; {http}\n"
        f"server {{ listen {address}; {server} }} }}\n"
    )
    with running([program, "-c", str(config), "-p", str(folder)], address, folder):
        yield address


@contextlib.contextmanager
def running_lighttpd(folder: Path, backend: Address) -> Iterator[Address]:
    """Run lighttpd with every path going to a FastCGI back end on a unix socket."""
    program = need("lighttpd", "lighttpd")
    address = Address("127.0.0.1", free_port())
    (folder / "root").mkdir()
    config = folder / "lighttpd.conf"
    config.write_text(
        f'server.document-root = "{folder}/root"\nserver.bind = "127.0.0.1"\n'
        f"server.port = {address.port}\n"
        'server.modules = ("mod_fastcgi")\n'
        'server.stream-response-body = 2\nserver.range-requests = "disable"\n'
        "server.max-request-size = 131072\n"
        'fastcgi.server = ( "/" => (( "socket" => "'
        f'{backend.path}", "check-local" => "disable", "fix-root-scriptname" => "enable" )) )\n'
    )
    with running([program, "-D", "-f", str(config)], address, folder):
        yield address


def make_certificate(folder: Path) -> Path:
    """Return a PEM file with a key and a self-signed certificate for localhost."""
    program = need("openssl", "openssl")
    key, certificate, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    command = f"{program} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    both.write_text(certificate.read_text() + key.read_text())
    return both


@contextlib.contextmanager
def running_haproxy(folder: Path, backend: Address) -> Iterator[Address]:
    """Run HAProxy as a TLS terminator before an HTTP server."""
    program = need("haproxy", "haproxy")
    address = Address("127.0.0.1", free_port())
    config = folder / "haproxy.cfg"
    config.write_text(
        "global\n  log stderr local0 err\n"
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n"
        "  timeout server 30s\n"
        f"frontend tls\n  bind {address} ssl crt {make_certificate(folder)}\n"
        "  option forwardfor\n  http-request set-header X-Forwarded-Proto https\n"
        "  http-request del-header X-Forwarded-Host\n  default_backend app\n"
        f"backend app\n  server one {backend}\n"
    )
    with running([program, "-db", "-f", str(config)], address, folder):
        yield address


@contextlib.contextmanager
def running_caddy(folder: Path, backend: Address) -> Iterator[Address]:
    """Run Caddy as a TLS terminator before an HTTP server."""
    program = need("caddy", "caddy")
    address = Address("127.0.0.1", free_port())
    make_certificate(folder)
    config = folder / "Caddyfile"
    config.write_text(
        "{\n  admin off\n  auto_https off\n}\n"
        f"https://localhost:{address.port} {{\n  bind 127.0.0.1\n"
        f"  tls {folder}/cert.pem {folder}/key.pem\n  reverse_proxy {backend}\n}}\n"
    )
    with running([program, "run", "--config", str(config)], address, folder):
        yield address


RESPONDER = r"""
#include <fcgi_stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    while (FCGI_Accept() >= 0) {
        char *path = getenv("PATH_INFO"), *length = getenv("CONTENT_LENGTH");
        if (path && !strcmp(path, "/big")) {
            printf("Content-Type: application/octet-stream\r\n\r\n");
            for (int i = 0; i < 1000000; i++) putchar("0123456789"[i % 10]);
        } else if (path && !strcmp(path, "/missing")) {
            printf("Status: 404 Gone fishing\r\nContent-Type: text/plain\r\n\r\nno");
        } else if (path && !strcmp(path, "/redirect")) {
            printf("Location: http://example.org/\r\n\r\n");
        } else if (path && !strcmp(path, "/error")) {
            fprintf(stderr, "said to stderr\n");
            printf("Content-Type: text/plain\r\n\r\ndone");
        } else {
            printf("Content-Type: text/plain\r\n\r\n%s %s ", getenv("REQUEST_METHOD"), path);
            for (long left = length ? atol(length) : 0; left > 0; left--) putchar(getchar());
        }
    }
    return 0;
}
"""


@contextlib.contextmanager
def running_libfcgi(folder: Path) -> Iterator[Address]:
    """Compile and run a responder in C on the reference implementation of FastCGI."""
    compiler = need("gcc", "gcc")
    spawner = need("cgi-fcgi", "libfcgi-bin")
    source, program = folder / "responder.c", folder / "responder"
    source.write_text(RESPONDER)
    done = subprocess.run(
        [compiler, "-O1", "-o", str(program), str(source), "-lfcgi"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "fcgi_stdio.h" in done.stderr:
        pytest.skip("libfcgi's headers are not installed: sudo apt install libfcgi-dev")
    assert done.returncode == 0, done.stderr
    del spawner
    address = Address(path=f"{folder}/c.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.path)
        listener.listen(128)
        # A FastCGI application is started with its listener as descriptor 0 (section 2.2).
        with subprocess.Popen([str(program)], stdin=listener.fileno()) as process:
            try:
                yield address
            finally:
                process.kill()
