"""A compose project for one test, with unique names and image tags, and free ports."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
PATIENCE = 800.0  # seconds for one command: the first build compiles


def why_no_engine() -> str | None:
    """Return why containers cannot run here and how to fix that, or None if they can."""
    if shutil.which("docker") is None:
        return "docker is not installed: sudo apt install docker.io docker-compose docker-buildx"
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{' '.join(command)} fails: {done.stderr.strip().splitlines()[-1]}"
    return None


class Compose:
    """A compose project; the end of the block removes everything of it."""

    def __init__(self, **variables: str) -> None:
        self.project = f"chainlab-test-{uuid.uuid4().hex[:8]}"
        self.variables = {
            "COMPOSE_PROJECT_NAME": self.project,
            "TAG": self.project,
            "LAB_PORT": "0",
            "LOCUST_PORT": "0",
            **variables,
        }

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end with the project's variables and `variables`."""
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "200", **self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def good(self, *command: str, **variables: str) -> str:
        """Run a command that must succeed; return its output."""
        done = self.run(*command, **variables)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def compose(self, *arguments: str, **variables: str) -> str:
        """Run `docker compose`, which must succeed; return its output."""
        return self.good("docker", "compose", *arguments, **variables)

    def lab(self, *arguments: str) -> str:
        """Run `lab ARGUMENTS --docker`, which must succeed; return its output."""
        return self.good(sys.executable, "-m", "lab", *arguments, "--docker")

    def ids(self, service: str = "") -> list[str]:
        """Return the ids of the project's running containers, of one service or all."""
        return self.compose("ps", "--quiet", *filter(None, [service])).split()

    def inspect(self, *ids: str) -> list[dict[str, Any]]:
        """Return what the engine reports about containers, images, ..."""
        found: list[dict[str, Any]] = json.loads(self.good("docker", "inspect", *ids))
        return found

    def address(self, service: str = "gateway", port: int = 8080) -> str:
        """Return HOST:PORT of a published port."""
        return self.compose("port", service, str(port)).strip()

    def leftovers(self) -> dict[str, list[str]]:
        """Return what is left of the project, by kind."""
        label = f"label=com.docker.compose.project={self.project}"
        listings: dict[str, Sequence[str]] = {
            "containers": ("ps", "--all", "--quiet", "--filter", label),
            "networks": ("network", "ls", "--quiet", "--filter", label),
            "volumes": ("volume", "ls", "--quiet", "--filter", label),
            "images": ("images", "--quiet", f"chainlab/*:{self.project}"),
        }
        found = {kind: self.good("docker", *what).split() for kind, what in listings.items()}
        return {kind: left for kind, left in found.items() if left}

    def remove_images(self) -> None:
        """Remove the images with the project's tag; their layers stay in the build cache."""
        names = ("images", "--format", "{{.Repository}}:{{.Tag}}", f"chainlab/*:{self.project}")
        if images := self.good("docker", *names).split():
            self.good("docker", "image", "rm", *images)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        down = ("down", "--volumes", "--remove-orphans", "--timeout", "2")
        self.run("docker", "compose", "--profile", "all", "--profile", "tests", *down)
        self.remove_images()
