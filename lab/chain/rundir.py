"""Where a running chain lives on disk: sockets, logs, generated configurations, and its state.

The state file is the one truth about what runs: any `lab` command, in any terminal, reads it. It
names each process by pid and start time, because a pid alone may have been given to another
process since. One chain for each folder; CHAINLAB_RUN names another folder for a second chain.
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
    """What the user is told, in one line: what is wrong and what helps."""


@dataclass(frozen=True, slots=True)
class Part:
    """A running part of the chain: its leading process and where it listens."""

    name: str
    pid: int
    started: float  # psutil's create_time, seconds since the epoch
    address: str

    @property
    def process(self) -> psutil.Process | None:
        """The leading process; None when it is gone."""
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            same = abs(process.create_time() - self.started) < 0.5
        except psutil.NoSuchProcess:
            return None
        return process if alive and same else None


@dataclass(frozen=True, slots=True)
class State:
    """What runs."""

    front: Part
    backend: Part
    workers: int
    number: int  # back ends started so far: each gets a socket of its own
    timed: bool = False  # whether its parts tell where the time goes, as far as they can

    @property
    def url(self) -> str:
        """Where to point a browser."""
        return f"http://{self.front.address}"

    def to_json(self) -> str:
        """Return it as it stands in the file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        for part in ("front", "backend"):
            values[part] = Part(**values[part])
        return cls(**values)


class RunDir:
    """A folder that only its owner may enter."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.stat().st_uid != os.getuid():
            raise LabError(f"{self.path} belongs to another user; set CHAINLAB_RUN to a folder")

    @property
    def _state_path(self) -> Path:
        return self.path / "state.json"

    def load(self) -> State | None:
        """Return the state; None when nothing was started, or all was stopped."""
        try:
            return State.from_json(self._state_path.read_text())
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise LabError(f"{self._state_path} cannot be read; remove it") from None

    def store(self, state: State) -> None:
        """Replace the state in one step: a reader sees the old one or the new one."""
        fresh = self._state_path.with_suffix(".new")
        fresh.write_text(state.to_json())
        fresh.replace(self._state_path)

    def log_path(self, name: str) -> Path:
        """Return where the part `name` writes what it has to say."""
        return self.path / f"{name}.log"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time change the chain; LabError when another one does."""
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError("another lab command is changing this chain; wait for it") from None
            yield

    def clear(self) -> None:
        """Remove everything but the logs, which say what happened."""
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.suffix != ".log" and entry.name != "lock":
                entry.unlink(missing_ok=True)


def default_path() -> Path:
    """Return $CHAINLAB_RUN, or a folder of the user's that does not outlive the machine's run."""
    if chosen := os.environ.get("CHAINLAB_RUN"):
        return Path(chosen).absolute()
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "chainlab"
    return Path(f"/tmp/chainlab-{os.getuid()}")  # RunDir checks that it is ours
