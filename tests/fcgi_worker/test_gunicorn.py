"""The same application under gunicorn's sync worker and under ours: it finds the same process.

Where it does not, DIFFERENCES says so and why. A probe that differs and is not listed fails, and so
does one that is listed and does not differ.
"""

import http.client
import importlib.util
import json
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from chainlab.transport import Address
from tests.fcgi_worker.conftest import ROOT
from tests.fcgi_worker.process_app import RAISED
from tests.support.fastcgi import Client
from tests.support.processes import Process, is_alive, running_worker, wait_until

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed: make setup"
)

PROBES: Final = (
    "/root-logger", "/process-state", "/programs-signals", "/run-asyncio", "/alarm", "/pools",
    "/many-files", "/release", "/file-limit", "/held", "/handlers", "/terminated",
    *(f"/raising?what={name}" for name in RAISED),
    *(f"/fork?how={how}" for how in ("return", "raise", "exit")),
)  # fmt: skip

OWN_ERROR = "gunicorn takes it for an error of the connection and closes that; ours answers 500"
FORKED = (
    "under gunicorn a forked process that leaves the application goes on as a second worker and "
    "answers on its parent's connection; ours ends there"
)
DIFFERENCES: Final = {
    "/raising?what=OSError": OWN_ERROR,
    "/raising?what=ConnectionResetError": OWN_ERROR,
    "/raising?what=StopIteration": "gunicorn takes it for its own and closes the connection",
    "/process-state": "gunicorn has a wakeup descriptor for signals; ours needs none",
    "/file-limit": "ours raises the soft limit: it holds thousands of idle connections",
    "/held": "a process forked under gunicorn holds the listener and the connection",
    "/handlers": "a process forked under gunicorn has the worker's signal handlers",
    "/terminated": "and so it does not obey multiprocessing's terminate()",
    "/fork?how=return": FORKED,
    "/fork?how=raise": FORKED,
    "/fork?how=exit": FORKED,
}

Told = tuple[int | None, object]
"""The status of an answer, None if there was none, and what it told."""

Ask = Callable[[str], Told]


def read(status: int, body: bytes) -> Told:
    told: object = json.loads(body) if status == 200 else None
    if isinstance(told, dict):
        told = {key: str(value).split(" at 0x")[0] for key, value in told.items()}
    return status, told


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


def ask_gunicorn(path: Path) -> Ask:
    def ask(target: str) -> Told:
        connection = UnixConnection(path)
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            return read(response.status, response.read())
        except (http.client.RemoteDisconnected, ConnectionError):
            return None, None
        finally:
            connection.close()

    return ask


def ask_worker(address: Address) -> Ask:
    def ask(target: str) -> Told:
        with Client(address) as client:
            answer = client.request(target)
            return read(answer.status, answer.body) if answer.end is not None else (None, None)

    return ask


@pytest.fixture
def both(tmp_path: Path) -> Iterator[dict[str, tuple[Process, Ask]]]:
    """The application under both servers, one child each."""
    application = f"tests.fcgi_worker.process_app:create({str(tmp_path)!r})"
    path = tmp_path / "gunicorn"
    command = [sys.executable, "-m", "gunicorn", application, "--workers", "1"]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (1500, hard))
        gunicorn = stack.enter_context(
            Process([*command, "--bind", f"unix:{path}", "--no-control-socket"], cwd=ROOT)
        )
        worker, address = stack.enter_context(
            running_worker(application, "--workers", "1", bind=f"unix:{tmp_path}/w", cwd=ROOT)
        )
        wait_until(path.exists, "gunicorn listens")
        gunicorn.wait_for_stderr("Booting worker")
        yield {
            "gunicorn": (gunicorn, ask_gunicorn(path)),
            "worker": (worker, ask_worker(address)),
        }


@pytest.mark.long
def test_an_application_finds_the_same_process(both: dict[str, tuple[Process, Ask]]) -> None:
    differing = {}
    for probe in PROBES:
        ours, theirs = both["worker"][1](probe), both["gunicorn"][1](probe)
        if ours != theirs:
            differing[probe] = (ours, theirs)
    assert {probe: told for probe, told in differing.items() if probe not in DIFFERENCES} == {}
    assert DIFFERENCES.keys() - differing.keys() == set()


def test_a_process_ends_in_the_same_way(
    both: dict[str, tuple[Process, Ask]], tmp_path: Path
) -> None:
    """Exit handlers, output that nobody flushed, a thread that is left running."""
    pids = {name: ask("/pid")[1] for name, (_, ask) in both.items()}
    for name, (process, ask) in both.items():
        gate = tmp_path / f"gate-{name}"
        assert ask(f"/lingering?file={gate}")[0] == 200
        process.signal(signal.SIGTERM if name == "gunicorn" else signal.SIGQUIT)  # graceful
        pid = pids[name]
        assert isinstance(pid, int)
        assert is_alive(pid)  # the thread holds it
        gate.touch()
        assert process.wait() == 0
        assert Path(f"{gate}.done").exists(), name
        assert (tmp_path / f"exit-{pid}").read_text() == "exit handler", name
        assert (tmp_path / f"stdout-{pid}").read_text() == "no newline, no flush", name
