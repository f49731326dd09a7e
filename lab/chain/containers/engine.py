"""Access to Docker: the engine through its SDK, docker-compose.yml through `docker compose`.

The SDK watches and controls running containers: health, events, commands, resource use. Compose
creates and removes them, because only compose reads docker-compose.yml. Its labels on the
containers say which project and service they belong to, so we keep no state file.
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
    """A compose project: its containers, and the commands that change them.

    LabError if there is no engine or no compose file.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or default_name()
        self.override: Path | None = None
        """A second compose file, which overrides the first."""
        if not FILE.exists():
            raise LabError(f"{FILE} does not exist: run --docker in a checkout of the project")
        if shutil.which("docker") is None:
            raise LabError("the docker command is not installed: run sudo apt install docker.io")
        try:
            self.client = docker.from_env()
            self.client.ping()
        except DockerException as error:
            raise LabError(
                f"no Docker engine answers ({_first_line(error)}); start it (sudo systemctl start "
                "docker), set DOCKER_HOST, or omit --docker"
            ) from None

    def compose(
        self,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        quiet: bool = False,
        alone: bool = False,
    ) -> str:
        """Run `docker compose`; LabError with its last line of output if it fails.

        `variables` are those of docker-compose.yml. `quiet` returns its output instead of showing
        it. `alone` runs it in its own session, so that Ctrl-C in the terminal does not reach it.
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
            last = (done.stderr or "see above").strip().splitlines()[-1]
            raise LabError(f"docker compose failed: {last}")
        return done.stdout or ""

    def containers(self, service: str | None = None, *, stopped: bool = False) -> list[Container]:
        """Return the project's containers, of one service or all, sorted by name."""
        labels = [f"{_PROJECT}={self.name}", f"{_ONE_OFF}=False"]
        if service:
            labels.append(f"{_SERVICE}={service}")
        found = self.client.containers.list(all=stopped, filters={"label": labels})
        return sorted(found, key=lambda container: str(container.name))

    def events(self, seconds: float, **filters: str) -> Iterator[Mapping[str, Any]]:
        """Yield the engine's events for the project's containers during the next `seconds`."""
        label = f"{_PROJECT}={self.name}"
        now = time.time()
        yield from self.client.events(
            since=int(now) - 1,  # whole seconds only: events of the last second come again
            until=int(now + seconds) + 1,
            filters={"type": "container", "label": label, **filters},
            decode=True,
        )

    def wait_until_healthy(self, container: Container, seconds: float) -> None:
        """Return when `container` is healthy; LabError with its last log line if it never is.

        Runs the container's health check itself every 0.1 s: the engine runs it every 5 s.
        """
        health_check = container.attrs["Config"]["Healthcheck"]["Test"][1:]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            container.reload()
            if container.attrs["RestartCount"] or container.status == "exited":
                break
            if container.status == "running" and not container.exec_run(health_check)[0]:
                return
            time.sleep(0.1)
        last = container.logs(tail=1).decode(errors="replace").strip()
        raise LabError(f"{container.name} did not become healthy: {last or 'its log is empty'}")


def default_name() -> str:
    """Return $COMPOSE_PROJECT_NAME, or "chainlab"."""
    return os.environ.get("COMPOSE_PROJECT_NAME", "chainlab")


def service_of(container: Container) -> str:
    """Return the name of the container's service."""
    return str(container.labels[_SERVICE])


def health_of(container: Container) -> str:
    """Return healthy, unhealthy or starting; without a health check, the container's state."""
    state = container.attrs["State"]
    return str(state.get("Health", {}).get("Status") or state["Status"])


def execute(container: Container, *command: str) -> str:
    """Run a command in `container` and return its output; LabError if it fails."""
    code, output = container.exec_run(list(command))
    text: str = output.decode(errors="replace").strip()
    if code:
        raise LabError(
            f"{container.name}: {text.splitlines()[-1] if text else f'exit code {code}'}"
        )
    return text


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
