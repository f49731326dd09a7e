"""The wheel in empty environments: gateway and worker with click alone, the lab with its extra."""

import json
import subprocess
import sys
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from tests.fcgi_worker.test_names import NAMES, make_site
from tests.support.fastcgi import Client
from tests.support.processes import Process

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=500, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    listed = run("git", "ls-files", "-z", cwd=ROOT)
    if listed.returncode:
        pytest.skip("no git checkout to build from")
    for name in listed.stdout.split("\0")[:-1]:
        source = ROOT / name
        if not source.exists():
            continue
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(source.read_bytes())
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir")
    done = run(sys.executable, "-m", "pip", "wheel", *options, folder, copy)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("chainlab-*.whl")
    return found


def install(folder: Path, what: str) -> Path:
    """Install `what` in an empty environment; return its bin folder."""
    venv.create(folder, with_pip=True)
    done = run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", what)
    if done.returncode and "Failed to establish a new connection" in done.stderr:
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_it_holds_what_it_needs_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "chainlab/pages/parts/base.html",
        "experiments/book/page/page.html",
        "experiments/claims.md",
        "lab/compare/SCHEMA.md",
        "lab/compare/drive/wrk.lua",
        "lab/compare/report/page/page.html",
        "lab/trace/page/page.html",
        "loadtest/baseline/baseline.c",
        "servers/app/CONTRACT.md",
        "servers/php/index.php",
    ):
        assert name in names
    assert not any(name.startswith(("tests/", "docs/")) for name in names)
    tops = {name.partition("/")[0] for name in names if not name.startswith("chainlab-")}
    ours = {"chainlab", "gateway", "fcgi_worker", "servers", "loadtest", "experiments", "lab"}
    assert tops == ours


def test_gateway_and_worker_need_click_alone(wheel: Path, tmp_path: Path) -> None:
    commands = install(tmp_path / "venv", str(wheel))
    listed = run(commands / "python", "-m", "pip", "list", "--format", "freeze").stdout
    packages = {line.partition("==")[0].partition(" ")[0] for line in listed.splitlines()}
    assert packages - {"pip", "setuptools", "wheel"} == {"chainlab", "click"}
    for name in ("chain-gateway", "fcgi-worker"):
        done = run(commands / name, "--help", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout
    site = make_site(tmp_path)
    line = [str(commands / "fcgi-worker"), "shop.wsgi:application", "--bind", f"unix:{tmp_path}/s"]
    with Process(line, cwd=site) as worker, Client(worker.wait_until_listening()) as client:
        _, found = json.loads(client.request("/").body)
    assert found == {name: str(site / name / "__init__.py") for name in NAMES}
    done = run(commands / "lab", "list", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("run pip install 'chainlab[lab]'")
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_extra_brings_the_lab(wheel: Path, tmp_path: Path) -> None:
    commands = install(tmp_path / "venv", f"{wheel}[lab]")
    done = run(commands / "lab", "list", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"epoll-lt"' in done.stdout
    done = run(commands / "lab", "explain", "E10", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "E10" in done.stdout
    line = [str(commands / "python"), "-m", "servers", "epoll-lt", "--listen", "127.0.0.1:0"]
    with Process(line, cwd=tmp_path) as server:
        address = server.wait_until_listening()
        with urllib.request.urlopen(f"http://{address}/hello", timeout=20) as answer:
            assert answer.read() == b"Hello, world!\n"
