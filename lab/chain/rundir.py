"""The run folder of a chain: sockets, logs, generated configurations, and the state file.

Every `lab` command reads the state file to learn what is running. It records each process by pid
and start time, because the kernel may have reused the pid. There is one chain per folder; set
CHAINLAB_RUN to another folder for a second chain.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil


class LabError(Exception):
    """A one-line message for the user: what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """A running part of the chain: its first process and its address."""

    name: str
    pid: int
    started: float  # psutil's create_time, seconds since the epoch
    address: str

    @property
    def process(self) -> psutil.Process | None:
        """The first process; None if it has exited."""
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            # Another start time means that the kernel reused the pid for another process.
            same = abs(process.create_time() - self.started) < 0.5
        except psutil.NoSuchProcess:
            return None
        return process if alive and same else None


@dataclass(frozen=True, slots=True)
class State:
    """A running chain."""

    front: Part
    backend: Part
    workers: int
    number: int  # back ends started so far; makes socket names unique
    timed: bool = False  # whether its parts report where the time goes, if they can
    draining: tuple[Part, ...] = ()  # replaced back ends on which requests may still run

    @property
    def url(self) -> str:
        """The URL of the front."""
        return f"http://{self.front.address}"

    def to_json(self) -> str:
        """Return the content of the state file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the output of `to_json`."""
        values = json.loads(text)
        for part in ("front", "backend"):
            values[part] = Part(**values[part])
        values["draining"] = tuple(Part(**part) for part in values.get("draining", ()))
        return cls(**values)


class RunDir:
    """A run folder, accessible only to its owner."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.stat().st_uid != os.getuid():
            raise LabError(
                f"{self.path} belongs to another user; set CHAINLAB_RUN to a folder of your own"
            )

    @property
    def _state_path(self) -> Path:
        return self.path / "state.json"

    def load(self) -> State | None:
        """Return the state; None if no chain was started or it was stopped."""
        try:
            return State.from_json(self._state_path.read_text())
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise LabError(f"{self._state_path} is damaged; remove it") from None

    def store(self, state: State) -> None:
        """Replace the state atomically: a reader sees either the old or the new state."""
        fresh = self._state_path.with_suffix(".new")
        fresh.write_text(state.to_json())
        fresh.replace(self._state_path)

    def log_path(self, name: str) -> Path:
        """Return the log file of the part `name`."""
        return self.path / f"{name}.log"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock for changing the chain; LabError if another command holds it."""
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError(
                    "another lab command is changing this chain; try again when it has finished"
                ) from None
            yield

    def clear(self) -> None:
        """Remove everything but the logs and the lock."""
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.suffix != ".log" and entry.name != "lock":
                entry.unlink(missing_ok=True)


def default_path() -> Path:
    """Return $CHAINLAB_RUN, or a per-user folder that does not survive a reboot."""
    if chosen := os.environ.get("CHAINLAB_RUN"):
        return Path(chosen).absolute()
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "chainlab"
    return Path(f"/tmp/chainlab-{os.getuid()}")  # RunDir checks the owner
