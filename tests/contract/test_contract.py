"""The contract, rule by rule, against one address.

    pytest tests/contract --base-url http://127.0.0.1:8080

asks a server that runs already, of any architecture, or a gateway before it.
"""

import http.server
import re
import threading
from pathlib import Path

import pytest

from servers.app import contract
from servers.app.contract import Check, checks, verify

RULES = Path(contract.__file__).with_name("CONTRACT.md")


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.name)
def test_rule(check: Check, base_url: str) -> None:
    check.run(base_url)


def test_every_check_is_a_rule_and_every_rule_is_checked() -> None:
    rules = set(re.findall(r"\*\*([a-z-]+)\*\*", RULES.read_text()))
    assert rules - {"failure"} == {check.name for check in checks()}


def test_quick_leaves_out_some() -> None:
    quick = {check.name for check in checks(quick=True)}
    assert quick < {check.name for check in checks()}
    assert {"hello", "echo", "echo-chunked", "stream-as-it-comes"} <= quick


class Liar(http.server.BaseHTTPRequestHandler):
    """Answers everything with the same wrong greeting."""

    def do_GET(self) -> None:
        body = b"Hello, World!\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


def test_a_liar_is_found_out() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Liar) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            failures = verify(f"http://127.0.0.1:{server.server_port}", quick=True)
        finally:
            server.shutdown()
            thread.join()
    assert {failure.name for failure in failures} == {check.name for check in checks(quick=True)}
    message = str(failures[0])
    assert message.startswith("hello: GET /hello: status 200, body b'Hello, World!\\n'")
    assert message.endswith("expected body b'Hello, world!\\n'")


def test_nobody_there_breaks_every_rule() -> None:
    failures = verify("http://127.0.0.1:1", quick=True)
    assert len(failures) == len(checks(quick=True))
    assert "ConnectionRefusedError" in str(failures[0])


@pytest.mark.parametrize("url", ["127.0.0.1:80", "https://127.0.0.1", "http://127.0.0.1/prefix"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    assert "is not http://HOST:PORT" in str(verify(url, quick=True)[0])
