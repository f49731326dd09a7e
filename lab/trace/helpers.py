"""Starting the agents where the parts run, and hearing what they say.

An agent is a process that is told to end by the end of its standard input; `docker exec -i` hands
that on, where it hands on no signal. So a place, here or in a container, is a command before the
agent's own.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from lab.chain.rundir import LabError

PATIENCE: Final = 60.0
"""Seconds for an agent to be ready, and for it to write all it has."""


class Unable(Exception):
    """An agent cannot work here: what it lacks, and what helps."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Place:
    """Where agents are started: before their commands stands `prefix`; `python` runs them."""

    prefix: tuple[str, ...] = ()
    python: str = sys.executable

    def agent(self, name: str, *arguments: object) -> "Agent":
        """Start `lab.trace.agents.NAME` here; Unable when it says so."""
        return self.start([self.python, "-m", f"lab.trace.agents.{name}", *map(str, arguments)])

    def start(self, command: Iterable[str]) -> "Agent":
        """Start any command that speaks as an agent does; Unable when it says so."""
        return Agent([*self.prefix, *command])


class Agent:
    """One that runs; a context manager: it is gone at the end."""

    def __init__(self, command: list[str]) -> None:
        self._name = " ".join(command[-3:])
        self._popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._clock = threading.Timer(PATIENCE, self._popen.kill)
        self._clock.start()
        try:
            self.greeting: Mapping[str, Any] = self._hear()
        except BaseException:
            self.close()
            raise
        self._clock.cancel()

    def _hear(self) -> Mapping[str, Any]:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise LabError(f"{self._name} ended, see above")
        said: Mapping[str, Any] = json.loads(line)
        if "error" in said:
            raise Unable(said["error"], said["remedy"])
        return said

    def tell(self) -> None:
        """Send it a line: begin."""
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()

    def finish(self, seconds: float = PATIENCE) -> str:
        """End its standard input and return all that it still says; LabError when it hangs."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        clock = threading.Timer(seconds, self._popen.kill)
        clock.start()
        try:
            self._popen.stdin.close()
            text = self._popen.stdout.read()
            code = self._popen.wait()
        finally:
            clock.cancel()
        if code < 0:
            raise LabError(f"{self._name} did not end in {seconds:g} s")
        return text

    def close(self) -> None:
        """End it, whatever it is at."""
        self._clock.cancel()
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
