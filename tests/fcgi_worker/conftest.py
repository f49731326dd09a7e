"""A worker that most tests share (two children, one for each test process), and folders."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainlab.transport import Address
from tests.support.fastcgi import Client
from tests.support.processes import Process, running_worker

ROOT = Path(__file__).parents[2]
APPS = "tests.fcgi_worker.apps"


@pytest.fixture(scope="session")
def shared() -> Iterator[tuple[Process, Address]]:
    """A worker with two children for tests that leave it as they found it."""
    with tempfile.TemporaryDirectory() as folder:
        bind = f"unix:{folder}/shared.sock"
        options = ("--workers", "2", "--read-timeout", "20")
        with running_worker(f"{APPS}:application", *options, bind=bind, cwd=ROOT) as worker:
            yield worker


@pytest.fixture
def client(shared: tuple[Process, Address]) -> Iterator[Client]:
    """A connection to the shared worker."""
    with Client(shared[1]) as connection:
        yield connection


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[Process, Address]]:
    """A worker with a single child: what one connection spoils the next would meet."""
    bind = f"unix:{tmp_path}/alone.sock"
    options = ("--workers", "1", "--read-timeout", "1", "--connections", "7")
    with running_worker(f"{APPS}:application", *options, bind=bind, cwd=ROOT) as worker:
        yield worker
