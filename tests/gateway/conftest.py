"""A gateway before a real worker, shared by the tests that leave it as they found it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, RawClient, running_gateway
from tests.support.processes import running_worker

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """A gateway, and a worker of four children that serves the application behind it."""
    with tempfile.TemporaryDirectory() as folder:
        bind = f"unix:{folder}/w.sock"
        worker = running_worker("servers.app.wsgi:application", "--workers", "4", bind=bind)
        with worker, running_gateway("--fastcgi", bind) as found:
            yield found


@pytest.fixture
def client(gateway: Gateway) -> Iterator[RawClient]:
    """A connection to the shared gateway."""
    with gateway.connect() as connection:
        yield connection
