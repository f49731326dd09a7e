"""The two ways to talk to Docker: the engine by its SDK, docker-compose.yml by `docker compose`.

The SDK is for what a container does: health, events, commands in it, what it uses. Compose is for
what there is to be: it alone reads docker-compose.yml, and its own marks on the containers
(labels) say which belongs to what, so no file of ours has to remember it.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from docker.errors import DockerException
from docker.models.containers import Container

import docker
from lab.chain.rundir import LabError

FILE: Final = Path(__file__).parents[3] / "docker-compose.yml"

_PROJECT: Final = "com.docker.compose.project"
_SERVICE: Final = "com.docker.compose.service"
_ONE_OFF: Final = "com.docker.compose.oneoff"


class Project:
    """One compose project: its containers, and the commands that change them.

    LabError when there is no engine, or no compose file.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or default_name()
        self.override: Path | None = None
        """A second compose file, which has the last word."""
        if not FILE.exists():
            raise LabError(f"{FILE} is not there: --docker works from a checkout of the project")
        if shutil.which("docker") is None:
            raise LabError("the docker command is not installed: run sudo apt install docker.io")
        try:
            self.client = docker.from_env()
            self.client.ping()
        except DockerException as error:
            raise LabError(
                f"no Docker engine answers ({_first_line(error)}); start it (sudo systemctl start "
                "docker), set DOCKER_HOST, or leave --docker out"
            ) from None

    def compose(
        self,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        quiet: bool = False,
        alone: bool = False,
    ) -> str:
        """Run `docker compose`; LabError with its last words when it fails. `quiet`: show nothing.

        `variables` are those of docker-compose.yml. `alone`: no Ctrl-C of the terminal reaches it.
        Return what it printed, when quiet.
        """
        command = ["docker", "compose", "--file", str(FILE), "--project-name", self.name]
        if self.override:
            command += ["--file", str(self.override)]
        pipe = subprocess.PIPE if quiet else None
        done = subprocess.run(
            [*command, *arguments],
            env={**os.environ, **(variables or {})},
            stdout=pipe,
            stderr=pipe,
            text=True,
            check=False,
            start_new_session=alone,
        )
        if done.returncode:
            said = (done.stderr or "see above").strip().splitlines()[-1]
            raise LabError(f"docker compose failed: {said}")
        return done.stdout or ""

    def containers(self, service: str | None = None, *, stopped: bool = False) -> list[Container]:
        """Return the project's containers, of one service or all, in the order of their names."""
        labels = [f"{_PROJECT}={self.name}", f"{_ONE_OFF}=False"]
        if service:
            labels.append(f"{_SERVICE}={service}")
        found = self.client.containers.list(all=stopped, filters={"label": labels})
        return sorted(found, key=lambda container: str(container.name))

    def events(self, seconds: float, **filters: str) -> Iterator[Mapping[str, Any]]:
        """Yield what happens to the project's containers during `seconds`."""
        label = f"{_PROJECT}={self.name}"
        now = time.time()
        yield from self.client.events(
            since=int(now) - 1,  # whole seconds: what has just happened comes again
            until=int(now + seconds) + 1,
            filters={"type": "container", "label": label, **filters},
            decode=True,
        )

    def wait_until_healthy(self, container: Container, seconds: float) -> None:
        """Return when `container` is healthy; LabError with its last words when it never is.

        Its own health check is run here, again and again: the engine's next turn is seconds away.
        """
        question = container.attrs["Config"]["Healthcheck"]["Test"][1:]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            container.reload()
            if container.attrs["RestartCount"] or container.status == "exited":
                break
            if container.status == "running" and not container.exec_run(question)[0]:
                return
            time.sleep(0.1)
        said = container.logs(tail=1).decode(errors="replace").strip()
        raise LabError(f"{container.name} does not get healthy: {said or 'it said nothing'}")


def default_name() -> str:
    """Return the compose project that a user's commands are about."""
    return os.environ.get("COMPOSE_PROJECT_NAME", "chainlab")


def service_of(container: Container) -> str:
    """Return the service that `container` is one of."""
    return str(container.labels[_SERVICE])


def health_of(container: Container) -> str:
    """Return healthy, unhealthy, starting; or its state, where it has no health check."""
    state = container.attrs["State"]
    return str(state.get("Health", {}).get("Status") or state["Status"])


def execute(container: Container, *command: str) -> str:
    """Run a command in `container`; return what it printed. LabError with that when it fails."""
    code, output = container.exec_run(list(command))
    text: str = output.decode(errors="replace").strip()
    if code:
        raise LabError(
            f"{container.name}: {text.splitlines()[-1] if text else f'exit code {code}'}"
        )
    return text


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
