"""The registry is data, and what it names is there; the command line tells what is wrong."""

import dataclasses
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chainlab.transport import Address
from servers.common.registry import SPECS, Options, Spec
from tests.support.processes import Process

ROOT = Path(__file__).parents[2]
SERVERS = [sys.executable, "-m", "servers"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SERVERS, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_ids() -> None:
    assert {"flup-fork", "flup-thread", "wsgiref"} <= set(SPECS)


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)
def test_spec(spec: Spec) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", spec.name)
    assert spec.claims
    assert all(re.fullmatch(r"[KMES]\d+", claim) for claim in spec.claims)
    assert hash(spec) is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]
    if spec.unavailable() is None:
        server = spec.load()
        assert all(callable(getattr(server, name)) for name in ("run", "stop", "close"))


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)
def test_the_file_to_read_says_at_once_what_it_shows(spec: Spec) -> None:
    opening = (ROOT / spec.source).read_text()[:1500]
    assert set(re.findall(r"\b[KMES]\d+\b", opening)) & set(spec.claims)
    assert all(name in SPECS or name in ("fcgi-worker", "php-fpm") for name in spec.neighbours)


def test_asking_imports_no_package_of_others() -> None:
    program = (
        "import sys; from servers.common.registry import SPECS;"
        "[spec.unavailable() for spec in SPECS.values()];"
        "print([name for name in sys.modules if name.partition('.')[0] in"
        " ('flup', 'gevent', 'uvloop', 'gunicorn', 'bjoern')])"
    )
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_what_is_missing_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert SPECS["flup-fork"].unavailable() == (
        "the package flup is not installed: run pip install 'flup>=1.0.3'"
    )
    assert SPECS["wsgiref"].unavailable() is None


def test_options() -> None:
    assert Options().workers == 4


def test_unknown_id() -> None:
    done = run("nothing", "--listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert "'nothing' is not one of " in done.stderr
    assert all(f"'{name}'" in done.stderr for name in SPECS)


def test_no_address() -> None:
    done = run("wsgiref", "--listen", "somewhere")
    assert done.returncode == 2
    assert "neither HOST:PORT nor unix:PATH" in done.stderr


def test_busy_address(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "s"))
    with Process([*SERVERS, "wsgiref", "--listen", str(address)]) as server:
        assert server.wait_until_listening() == address
        done = run("wsgiref", "--listen", str(address))
        assert done.returncode == 1
        assert f"address in use by pid {server.pid}" in done.stderr
    assert not Path(address.path).exists()
