"""A server that is a program of its own: another language's, or somebody else's.

The listener is bound here, as for every architecture, and inherited: the program gets it as an
open descriptor, so a swap, a busy address and a unix socket's file are the same matter everywhere.
This process then only waits. It costs memory, and no time: no byte of a client passes through it.

The program leads a process group of its own, so that Ctrl-C in a terminal reaches us alone, who
tell it in its own words; it dies with us, whatever ends us.
"""

import os
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import ClassVar

from servers.common.spec import Options
from servers.common.stopping import GRACE, Waker, die_with_parent


class ProgramEnded(Exception):
    """The program ended though nobody told it to; the message is for the user."""


class Program(ABC):
    """The server; a subclass says what to start."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    """What has the program take no more clients, answer what runs, and end."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._options = options
        self._waker = Waker()
        self._stopping = False

    @abstractmethod
    def command(self, fd: int, folder: Path) -> list[str]:
        """Return the command line: it serves on the listener `fd`; `folder` is for its files."""

    def environment(self) -> dict[str, str]:
        """Return what is added to the environment."""
        return {}

    def run(self) -> None:
        """Run the program until stopped; ProgramEnded when it ends before."""
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # recorded by the wake-up
        self._waker.wake_on_signals()
        fd = self._listener.fileno()
        with tempfile.TemporaryDirectory(prefix="chainlab-") as folder:
            command = self.command(fd, Path(folder))
            program = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,  # what it says belongs to the log
                pass_fds=(fd,),
                env={**os.environ, **self.environment()},
                process_group=0,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
            try:
                self._wait(program)
            finally:
                self._end(program)
        if not self._stopping:
            raise ProgramEnded(f"{command[0]} ended by itself, exit code {program.returncode}")

    def _wait(self, program: subprocess.Popen[bytes]) -> None:
        while not self._stopping and program.poll() is None:
            self._waker.rest(60.0)

    def _end(self, program: subprocess.Popen[bytes]) -> None:
        """Tell it to finish, give it GRACE seconds, and leave nothing of its group behind."""
        deadline = time.monotonic() + GRACE
        if program.poll() is None:
            program.send_signal(self.stop_signal)
        while program.poll() is None and (left := deadline - time.monotonic()) > 0:
            self._waker.rest(min(left, 0.5))
        try:
            os.killpg(program.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        program.wait()

    def stop(self) -> None:
        """Have the program take no more clients and finish what runs."""
        self._stopping = True
        self._waker.wake()

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()
        self._waker.close()
