"""Behind a front end: whom the worker believes, and what of it the application sees."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chainlab.transport import Address
from chainlab.transport.networks import Networks
from fcgi_worker.origin import apply_origin
from tests.fcgi_worker.conftest import APPS, ROOT
from tests.support.fastcgi import Client, make_params
from tests.support.processes import running_worker

TRUSTED = Networks.parse(["10.0.0.0/8", "2001:db8:1::/48", "unix"])
CLAIMS = {
    "HTTP_X_FORWARDED_FOR": "6.6.6.6", "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "evil", "HTTP_X_FORWARDED_PORT": "1", "HTTP_X_FORWARDED_SSL": "on",
    "HTTP_FORWARDED": "for=6.6.6.6;proto=https", "HTTP_X_REAL_IP": "6.6.6.6",
}  # fmt: skip


def environ(**more: str) -> dict[str, Any]:
    """What nginx tells of a request that a front end at 10.0.0.1 has sent."""
    return {
        "REMOTE_ADDR": "10.0.0.1", "REMOTE_PORT": "4711", "SERVER_NAME": "inside",
        "SERVER_PORT": "8080", "HTTP_HOST": "shop.test", "REQUEST_SCHEME": "http", **more,
    }  # fmt: skip


def changes(**more: str) -> dict[str, Any]:
    """What the worker makes of it: the changed variables; None for one that is gone."""
    before = environ(**more)
    after = dict(before)
    apply_origin(after, TRUSTED)
    names = before.keys() | after.keys()
    return {name: after.get(name) for name in names if after.get(name) != before.get(name)}


CLIENT = {"REMOTE_ADDR": "203.0.113.9", "REMOTE_PORT": None}
HTTPS = {"REQUEST_SCHEME": "https", "HTTPS": "on", "SERVER_PORT": "443"}


@pytest.mark.parametrize(
    ("sent", "changed"),
    [
        ({}, {}),
        ({"HTTP_X_FORWARDED_FOR": "203.0.113.9"}, CLIENT),
        ({"HTTP_X_FORWARDED_FOR": "6.6.6.6, 203.0.113.9, 10.0.0.2"},
         {**CLIENT, "HTTP_X_FORWARDED_FOR": "203.0.113.9, 10.0.0.2"}),
        ({"HTTP_X_REAL_IP": "203.0.113.9"}, CLIENT),
        ({"HTTP_FORWARDED": "for=203.0.113.9"}, CLIENT),
        ({"HTTP_FORWARDED": 'for="[2001:db8::1]:80"'}, {**CLIENT, "REMOTE_ADDR": "2001:db8::1"}),
        ({"HTTP_X_FORWARDED_FOR": "203.0.113.9", "HTTP_FORWARDED": "for=6.6.6.6"},
         {**CLIENT, "HTTP_FORWARDED": None}),
        ({"HTTP_X_FORWARDED_FOR": "203.0.113.9", "HTTP_X_REAL_IP": "6.6.6.6"},
         {**CLIENT, "HTTP_X_REAL_IP": "203.0.113.9"}),
        ({"HTTP_X_FORWARDED_FOR": "junk"}, {"HTTP_X_FORWARDED_FOR": ""}),
        ({"HTTP_X_FORWARDED_PROTO": "https"}, HTTPS),
        ({"HTTP_X_FORWARDED_PROTO": "http", "REQUEST_SCHEME": "https", "HTTPS": "on"},
         {"REQUEST_SCHEME": "http", "HTTPS": None, "SERVER_PORT": "80"}),
        ({"HTTP_X_FORWARDED_PROTO": "gopher"}, {}),
        ({"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_PORT": "8443"},
         {**HTTPS, "SERVER_PORT": "8443"}),
        ({"HTTP_X_FORWARDED_PROTO": "https", "HTTP_HOST": "shop.test:8443"},
         {**HTTPS, "SERVER_PORT": "8443"}),
        ({"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": "shop.example:8443"},
         {**HTTPS, "HTTP_HOST": "shop.example:8443", "SERVER_NAME": "shop.example",
          "SERVER_PORT": "8443"}),
        ({"HTTP_X_FORWARDED_HOST": "a/../b"}, {}),
        ({"HTTP_X_FORWARDED_PORT": "70000"}, {}),
        ({"HTTP_FORWARDED": "for=203.0.113.9;proto=https;host=shop.example"},
         {**CLIENT, **HTTPS, "HTTP_HOST": "shop.example", "SERVER_NAME": "shop.example"}),
    ],
)  # fmt: skip
def test_a_trusted_front_end_is_believed(sent: dict[str, str], changed: dict[str, Any]) -> None:
    assert changes(**sent) == changed


@pytest.mark.parametrize("remote", ["198.51.100.1", "2001:db8::1", "junk"])
def test_nobody_else_is(remote: str) -> None:
    assert changes(**CLAIMS, REMOTE_ADDR=remote) == dict.fromkeys(CLAIMS)


@pytest.mark.parametrize("remote", ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1::5", "unix:", ""])
def test_who_is_trusted(remote: str) -> None:
    found = changes(REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR="203.0.113.9")
    assert found["REMOTE_ADDR"] == "203.0.113.9"


@pytest.fixture(params=[(), ("--trusted", "10.0.0.0/8", "--trusted", "192.0.2.1")])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[bool, Address]]:
    bind = f"unix:{tmp_path_factory.mktemp('origin')}/s"
    application, options = f"{APPS}:show_environ", ("--workers", "1", *request.param)
    with running_worker(application, *options, bind=bind, cwd=ROOT) as (_, address):
        yield bool(request.param), address


def test_the_application_sees_the_clients_side(served: tuple[bool, Address]) -> None:
    trusting, address = served
    sent = make_params(
        HTTP_X_FORWARDED_FOR="203.0.113.9", HTTP_X_FORWARDED_PROTO="https", REMOTE_ADDR="192.0.2.1"
    )
    with Client(address) as client:
        told = json.loads(client.request_raw(sent).body)
        assert told["wsgi.url_scheme"] == ("https" if trusting else "http")
        assert told["REMOTE_ADDR"] == ("203.0.113.9" if trusting else "192.0.2.1")
        told = json.loads(client.request_raw({**sent, "REMOTE_ADDR": "192.0.2.2"}).body)
        assert told["wsgi.url_scheme"] == "http"
        assert told["REMOTE_ADDR"] == "192.0.2.2"
        # Without the option all fields reach the application, which may know whom to believe.
        assert told.get("HTTP_X_FORWARDED_PROTO") == (None if trusting else "https")
