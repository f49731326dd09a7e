"""Start the agents where the parts run, and read what they report.

An agent ends when its standard input ends: `docker exec -i` forwards that, but no signals. So a
place, on this machine or in a container, is just a prefix of the agent's command.
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
"""Seconds for an agent to get ready, and to write its results."""


class Unable(Exception):
    """An agent cannot work here: what is missing, and the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Place:
    """Where agents run: `prefix` precedes each command; `python` is the interpreter there."""

    prefix: tuple[str, ...] = ()
    python: str = sys.executable

    def agent(self, name: str, *arguments: object) -> "Agent":
        """Start `lab.trace.agents.NAME` here; raise Unable if it reports an error."""
        return self.start([self.python, "-m", f"lab.trace.agents.{name}", *map(str, arguments)])

    def start(self, command: Iterable[str]) -> "Agent":
        """Start any command that behaves as an agent; raise Unable if it reports an error."""
        return Agent([*self.prefix, *command])


class Agent:
    """A running agent; as a context manager, it is killed on exit."""

    def __init__(self, command: list[str]) -> None:
        self._name = " ".join(command[-3:])
        self._popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._deadline = threading.Timer(PATIENCE, self._popen.kill)
        self._deadline.start()
        try:
            self.greeting: Mapping[str, Any] = self._hear()
        except BaseException:
            self.close()
            raise
        self._deadline.cancel()

    def _hear(self) -> Mapping[str, Any]:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise LabError(f"{self._name} ended before it was ready: see its error message above")
        reply: Mapping[str, Any] = json.loads(line)
        if "error" in reply:
            raise Unable(reply["error"], reply["remedy"])
        return reply

    def tell(self) -> None:
        """Send the agent a line: start."""
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()

    def finish(self, seconds: float = PATIENCE) -> str:
        """Close the agent's standard input and return the rest of its output.

        Kill it after `seconds` and raise LabError.
        """
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        deadline = threading.Timer(seconds, self._popen.kill)
        deadline.start()
        try:
            self._popen.stdin.close()
            text = self._popen.stdout.read()
            code = self._popen.wait()
        finally:
            deadline.cancel()
        if code < 0:
            raise LabError(f"{self._name} did not end within {seconds:g} s")
        return text

    def close(self) -> None:
        """Kill the agent if it is still running."""
        self._deadline.cancel()
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
