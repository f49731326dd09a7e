"""Front ends: which are believed, and what of theirs; Django behind a TLS terminator."""

import contextlib
import http.client
import importlib.util
import json
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainlab.transport import Address
from chainlab.transport.networks import NetworkError, Networks, bracketed, plain_ip
from gateway.forwarded import Origin, find_origin
from tests.gateway.test_parts import head_of
from tests.support.gateway import RawClient, fastcgi, running_gateway, serve_always
from tests.support.peers import running_caddy, running_haproxy
from tests.support.processes import running_worker, wait_until

TRUSTED = Networks.parse(["192.0.2.0/24", "2001:db8:1::/48", "unix"])
FRONT = "192.0.2.7"


def origin(*lines: str, remote: str = FRONT, first: bytes = b"GET / HTTP/1.1") -> Origin:
    head = head_of(b"Host: www.test", *(line.encode() for line in lines), first=first)
    return find_origin(head, remote, "192.0.2.1", 8080, TRUSTED)


def passed_on(found: Origin) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in found.fields}


@pytest.mark.parametrize(
    ("lines", "remote", "chain"),
    [
        ((), FRONT, FRONT),
        (("X-Forwarded-For: 203.0.113.9",), "203.0.113.9", f"203.0.113.9, {FRONT}"),
        (("X-Forwarded-For: 6.6.6.6, 203.0.113.9",), "203.0.113.9", f"203.0.113.9, {FRONT}"),
        (("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9",
         f"203.0.113.9, {FRONT}"),
        (("X-Forwarded-For: 6.6.6.6, 203.0.113.9, 192.0.2.8",), "203.0.113.9",
         f"203.0.113.9, 192.0.2.8, {FRONT}"),
        (("X-Forwarded-For: 192.0.2.9, 192.0.2.8",), "192.0.2.9", f"192.0.2.9, 192.0.2.8, {FRONT}"),
        (("X-Forwarded-For: 6.6.6.6, unknown",), FRONT, FRONT),
        (("X-Forwarded-For: 6.6.6.6, x, 192.0.2.8",), "192.0.2.8", f"192.0.2.8, {FRONT}"),
        (("X-Forwarded-For: ,, 203.0.113.9 ,",), "203.0.113.9", f"203.0.113.9, {FRONT}"),
        (("X-Forwarded-For: 203.0.113.9:4711",), "203.0.113.9", f"203.0.113.9, {FRONT}"),
        (("X-Forwarded-For: [2001:DB8::1]:80",), "2001:db8::1", f"2001:db8::1, {FRONT}"),
        (("X-Forwarded-For: 2001:db8::1",), "2001:db8::1", f"2001:db8::1, {FRONT}"),
        (("X-Forwarded-For: ::ffff:203.0.113.9",), "203.0.113.9", f"203.0.113.9, {FRONT}"),
        (("X-Real-IP: 203.0.113.9",), "203.0.113.9", f"203.0.113.9, {FRONT}"),
        (("X-Real-IP: junk",), FRONT, FRONT),
        (("X-Forwarded-For: 203.0.113.9", "X-Real-IP: 6.6.6.6"), "203.0.113.9",
         f"203.0.113.9, {FRONT}"),
        (("Forwarded: for=203.0.113.9",), "203.0.113.9", f"203.0.113.9, {FRONT}"),
        (('Forwarded: for="[2001:db8::1]:4711"',), "2001:db8::1", f"2001:db8::1, {FRONT}"),
        (("Forwarded: for=6.6.6.6, for=203.0.113.9;by=x, For=192.0.2.8",), "203.0.113.9",
         f"203.0.113.9, 192.0.2.8, {FRONT}"),
        (("Forwarded: for=6.6.6.6, for=_hidden",), FRONT, FRONT),
        (("Forwarded: for=6.6.6.6; =",), FRONT, FRONT),
        (("Forwarded: for=6.6.6.6", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9",
         f"203.0.113.9, {FRONT}"),
    ],
)  # fmt: skip
def test_the_client_behind_a_trusted_front_end(
    lines: tuple[str, ...], remote: str, chain: str
) -> None:
    found = origin(*lines)
    assert found.remote == remote
    assert passed_on(found)["x-forwarded-for"] == chain


@pytest.mark.parametrize(
    ("lines", "scheme", "name", "port"),
    [
        ((), b"http", b"www.test", 8080),
        (("X-Forwarded-For: 203.0.113.9",), b"http", b"www.test", 8080),
        (("X-Forwarded-Proto: https",), b"https", b"www.test", 443),
        (("X-Forwarded-Proto: HTTPS, http",), b"https", b"www.test", 443),
        (("X-Forwarded-Proto: wss",), b"https", b"www.test", 443),
        (("X-Forwarded-Proto: http",), b"http", b"www.test", 80),
        (("X-Forwarded-Proto: gopher",), b"http", b"www.test", 80),
        (("X-Forwarded-Proto: https", "X-Forwarded-Port: 8443"), b"https", b"www.test", 8443),
        (("X-Forwarded-Proto: https", "X-Forwarded-Port: 70000"), b"https", b"www.test", 443),
        (("X-Forwarded-Proto: https", "X-Forwarded-Host: a.test:8443"), b"https", b"a.test", 8443),
        (("X-Forwarded-Proto: https", "X-Forwarded-Host: [::1]:8443"), b"https", b"[::1]", 8443),
        (("X-Forwarded-Host: a.test, b.test",), b"http", b"a.test", 80),
        (("X-Forwarded-Host: a/../b",), b"http", b"www.test", 80),
        (('Forwarded: for=203.0.113.9;proto=https;host="a.test:8443"',), b"https", b"a.test",
         8443),
        (("Forwarded: for=6.6.6.6;proto=https, for=203.0.113.9;proto=http",), b"http", b"www.test",
         80),
        (("Forwarded: proto=https",), b"https", b"www.test", 443),
        (('Forwarded: host="a,b;c\\"",for=203.0.113.9;proto=https',), b"https", b"www.test", 443),
    ],
)  # fmt: skip
def test_scheme_name_and_port_behind_a_trusted_front_end(
    lines: tuple[str, ...], scheme: bytes, name: bytes, port: int
) -> None:
    found = origin(*lines)
    assert (found.scheme, found.name, found.port) == (scheme, name, port)


def test_what_a_trusted_front_end_says_is_passed_on() -> None:
    found = origin(
        "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Port: 8443",
        "X-Forwarded-Host: a.test", "X-Forwarded-Prefix: /app", "X-Real-IP: 203.0.113.9",
        "Forwarded: for=6.6.6.6",
    )  # fmt: skip
    assert passed_on(found) == {
        "x-forwarded-for": f"203.0.113.9, {FRONT}", "x-forwarded-proto": "https",
        "x-forwarded-port": "8443", "x-forwarded-host": "a.test", "x-forwarded-prefix": "/app",
        "x-real-ip": "203.0.113.9",
    }  # fmt: skip
    found = origin("Forwarded: for=203.0.113.9;proto=https")
    assert passed_on(found)["forwarded"] == f"for=203.0.113.9;proto=https, for={FRONT}"
    found = origin("Forwarded: for=203.0.113.9", remote="2001:db8:1::7")
    assert passed_on(found)["forwarded"] == 'for=203.0.113.9, for="[2001:db8:1::7]"'
    found = origin("Forwarded: for=203.0.113.9", remote="unix:")
    assert passed_on(found)["forwarded"] == "for=203.0.113.9, for=unknown"


CLAIMS = (
    "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil",
    "X-Forwarded-Port: 1", "X-Forwarded-Ssl: on", "Forwarded: for=6.6.6.6;proto=https",
    "X-Real-IP: 6.6.6.6",
)  # fmt: skip


@pytest.mark.parametrize("remote", ["198.51.100.1", "2001:db8::1", "junk"])
def test_nobody_else_is_believed(remote: str) -> None:
    found = origin(*CLAIMS, remote=remote)
    assert found[:4] == (remote, b"http", b"www.test", 8080)
    assert passed_on(found) == {
        "x-forwarded-for": remote, "x-forwarded-proto": "http", "x-forwarded-host": "www.test",
    }  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["X-Forwarded-" + n for n in ("For", "Proto", "Host", "Port", "X")]
                            + ["Forwarded", "X-Real-IP"]),
            st.text("0123456789.:,;=\"\\[] afor", max_size=30),
        )
    )
)  # fmt: skip
def test_whatever_is_said_the_result_is_an_address(said: list[tuple[str, str]]) -> None:
    found = origin(*(f"{name}: {value}" for name, value in said))
    assert socket.getaddrinfo(found.remote, found.port, flags=socket.AI_NUMERICHOST)
    assert found.scheme in (b"http", b"https")
    assert 0 < found.port < 65536


def test_networks() -> None:
    local = Networks.parse(["127.0.0.0/8", "::1"])
    addresses = ("127.0.0.5", "::1", "128.0.0.1", "::2", "unix:", "name", "")
    assert [address for address in addresses if address in local] == ["127.0.0.5", "::1"]
    assert "unix:" in Networks.parse(["unix"])
    assert not Networks()
    with pytest.raises(
        NetworkError, match=r"'10\.0\.0\.1/8' is not a network .*; write for example"
    ):
        Networks.parse(["10.0.0.1/8"])
    assert [plain_ip(a) for a in ("::ffff:1.2.3.4", "::1", "1.2.3.4")] == [
        "1.2.3.4",
        "::1",
        "1.2.3.4",
    ]
    assert [bracketed(a) for a in ("::1", "1.2.3.4")] == ["[::1]", "1.2.3.4"]


# The whole way

DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

def view(request):
    names = ("REMOTE_ADDR", "SERVER_PORT", "HTTP_X_FORWARDED_PROTO", "REQUEST_SCHEME")
    return JsonResponse({"secure": request.is_secure(), "url": request.build_absolute_uri(),
                         **{name: request.META.get(name) for name in names}})

urlpatterns = [path("", view)]
settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__,
                   SECURE_SSL_REDIRECT=True,
                   MIDDLEWARE=["django.middleware.security.SecurityMiddleware"])
application = get_wsgi_application()
"""

Front = Callable[[Path, Address], AbstractContextManager[Address]]


def ask_securely(front: Address, source: str) -> tuple[int, bytes]:
    """Ask a TLS terminator, from another loopback address, with fields that a forger would send."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "localhost", front.port, timeout=20, context=context, source_address=(source, 0)
    )
    fields = {
        "X-Forwarded-For": "6.6.6.6",
        "X_Forwarded_Proto": "gopher",
        "Forwarded": "for=7.7.7.7",
    }
    connection.request("GET", "/", headers=fields)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


@pytest.mark.parametrize("front", [running_haproxy, running_caddy])
def test_django_behind_a_tls_terminator_is_secure_if_that_is_trusted(
    tmp_path: Path, front: Front
) -> None:
    if importlib.util.find_spec("django") is None:
        pytest.skip("Django is not installed: pip install django")
    (tmp_path / "shop.py").write_text(DJANGO)
    bind = f"unix:{tmp_path}/w.sock"
    access = tmp_path / "access.log"
    options = ("--fastcgi", bind, "--trusted", "127.0.0.1", "--access-log", str(access))
    with (
        running_worker("shop:application", "--workers", "1", bind=bind, cwd=tmp_path),
        running_gateway(*options) as trusting,
        running_gateway("--fastcgi", bind) as other,
        front(tmp_path, trusting.address) as address,
    ):
        status, content = ask_securely(address, "127.0.0.5")
        assert status == 200, content
        assert json.loads(content) == {
            "secure": True, "url": f"https://localhost:{address.port}/",
            "REMOTE_ADDR": "127.0.0.5", "SERVER_PORT": str(address.port),
            "HTTP_X_FORWARDED_PROTO": "https", "REQUEST_SCHEME": "https",
        }  # fmt: skip
        wait_until(lambda: access.read_text().startswith("127.0.0.5 - - ["), "the client is logged")
        assert other.get("/", X_Forwarded_Proto="https")[0] == 301  # not trusted: not believed


@pytest.mark.skipif("not has_ipv6()", reason="this machine has no IPv6 loopback")
def test_ipv4_and_ipv6_wildcards_share_a_port(tmp_path: Path) -> None:
    answer = b"Content-Type: text/plain\r\n\r\nok"
    with fastcgi(tmp_path, serve_always(answer)) as back, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config = tmp_path / "g.toml"
        config.write_text(
            f'listen = ["0.0.0.0:{port}", "[::]:{port}"]\n[log]\naccess = "{tmp_path}/access"\n'
            f'[upstream.a]\nprotocol = "fastcgi"\naddresses = ["{back.address}"]\n'
        )
        with running_gateway("--config", str(config)):
            for host in ("127.0.0.1", "::1"):
                with RawClient(Address(host, port)) as client:
                    assert client.ask("GET", "/")[1] == b"ok"
            wait_until(
                lambda: (
                    [line.split()[0] for line in (tmp_path / "access").read_text().splitlines()]
                    == ["127.0.0.1", "::1"]
                ),
                "both are logged by their addresses",
            )


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.parametrize(
    ("allow", "status"),
    [("", 200), ("status_allow = []\n", 403), ('status_allow = ["10.0.0.0/8"]\n', 403)],
)
def test_the_status_page_is_for_those_it_is_allowed_to(
    tmp_path: Path, allow: str, status: int
) -> None:
    config = tmp_path / "g.toml"
    config.write_text(
        f'listen = ["127.0.0.1:0"]\nstatus_path = "/status"\n{allow}trusted = ["127.0.0.1"]\n'
        f'[log]\naccess = "off"\n[[route]]\nroot = "{tmp_path}"\n'
    )
    with running_gateway("--config", str(config)) as found:
        assert found.get("/status")[0] == status
        assert found.get("/status", X_Forwarded_For="203.0.113.9")[0] == 403
