"""What the container files say, held against the rest of the project; no engine is needed."""

import re
import shutil
import sys

import pytest

from lab.chain.backends import BACKENDS
from tests.support.compose import ROOT, Compose

COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


def pinned(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_every_back_end_is_a_service_that_runs_it() -> None:
    services = re.findall(
        r"^  ([a-z0-9-]+):(?:.*\n    .*\n    |.*)command: \[backend, ([a-z0-9-]+)\]",
        COMPOSE,
        re.MULTILINE,
    )
    assert all(service == name for service, name in services)
    assert {service for service, _ in services} == set(BACKENDS)


def test_images_hold_the_versions_that_are_tested() -> None:
    whole = pinned("requirements.lock")
    for lock in ("docker/servers.lock", "docker/load.lock"):
        assert pinned(lock).items() <= whole.items(), f"{lock}: run make lock"


def test_every_stage_starts_from_the_one_base_image() -> None:
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, re.MULTILINE)
    known = {"${BASE}"}
    for base, name in stages:
        assert base in known, f"{name} starts from {base}"
        known.add(name)
    assert re.findall(r"^ARG BASE=(.*)$", DOCKERFILE, re.MULTILINE) == ["debian:trixie-slim"]
    assert "# syntax=" not in DOCKERFILE  # it would be fetched


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
@pytest.mark.parametrize("command", [("up",), ("compare", "epoll-lt")])
def test_without_an_engine_one_is_told_what_helps(command: tuple[str, ...]) -> None:
    done = Compose().run(
        *(sys.executable, "-m", "lab", *command, "--docker"), DOCKER_HOST="unix:///no/such.sock"
    )
    assert done.returncode == 1
    assert "no Docker engine answers" in done.stderr
    assert "omit --docker" in done.stderr
