"""Whom the contract's suite asks: `--base-url URL`, else wsgiref, started for the session."""

import sys
from collections.abc import Iterator

import pytest

from tests.support.processes import Process


@pytest.fixture(scope="session")
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    given: str | None = request.config.getoption("--base-url")
    if given is not None:
        yield given
        return
    command = [sys.executable, "-m", "servers", "wsgiref", "--listen", "127.0.0.1:0"]
    with Process(command) as server:
        yield f"http://{server.wait_until_listening()}"
