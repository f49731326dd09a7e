"""A server that runs as a separate program: in another language, or third-party.

The listener is bound here, as for every architecture, and inherited by the program as an open
descriptor, so swaps, busy addresses and unix socket files are handled the same way everywhere.
This process then only waits. It costs memory but no time: no client byte passes through it.

The program leads its own process group, so Ctrl-C in a terminal reaches only this process, which
sends the program its own stop signal. The program dies with this process, however that ends.
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
    """The program exited without being stopped; the message is for the user."""


class Program(ABC):
    """The server; a subclass defines the command to run."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    """The signal for a graceful stop: accept no more clients, finish running requests, exit."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._options = options
        self._waker = Waker()
        self._stopping = False

    @abstractmethod
    def command(self, fd: int, folder: Path) -> list[str]:
        """Return the command that serves on listener `fd`; `folder` is for temporary files."""

    def environment(self) -> dict[str, str]:
        """Return extra environment variables."""
        return {}

    def run(self) -> None:
        """Run the program until stopped; ProgramEnded if it exits earlier."""
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # recorded by the wake-up
        self._waker.wake_on_signals()
        fd = self._listener.fileno()
        with tempfile.TemporaryDirectory(prefix="chainlab-") as folder:
            command = self.command(fd, Path(folder))
            program = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,  # its output belongs in the log
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
        """Ask the program to stop, wait up to GRACE seconds, then kill its process group."""
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
        """Ask the program to stop accepting and finish running requests."""
        self._stopping = True
        self._waker.wake()

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()
        self._waker.close()
