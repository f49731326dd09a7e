"""Reads a configuration file in a child process, while its master goes on supervising.

Fact: resolving the file's host names takes up to half a minute if a name server is silent.
Decision: a child process reads, resolves and sends the result back, pickled, through a pipe.
Trade-off: a fork per reload. A thread would cost less, but the master forks, and what it forks
while a thread is inside getaddrinfo(3) may find the resolver locked. A child can also be stopped
at any moment, and nothing that goes wrong in it can harm its master.
"""

import os
import pickle
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NoReturn

from chainlab.transport.table import ConfigError
from gateway.config import Config, load_config

_LIMIT: Final = 60.0  # seconds for reading the file and resolving its names


class Loading:
    """A configuration file that is being read; OSError if the child cannot be started.

    `blocked` are the signals that only the master handles.
    """

    def __init__(self, path: Path, blocked: Iterable[signal.Signals]) -> None:
        self._path = path
        self._data = b""
        self._complete = False
        self._deadline = time.monotonic() + _LIMIT
        self._source, sink = os.pipe()
        os.set_blocking(self._source, False)
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _load(path, sink)
        except OSError:
            os.close(self._source)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
            os.close(sink)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is something to `receive`."""
        return self._source

    @property
    def late(self) -> bool:
        """True if the time is up."""
        return time.monotonic() >= self._deadline

    def receive(self) -> bool:
        """Read what has arrived; return True at its end."""
        try:
            data = os.read(self._source, 1 << 20)
        except BlockingIOError:
            return False
        self._data += data
        self._complete = not data
        return self._complete

    def result(self) -> Config:
        """Return the configuration, or raise ConfigError; end the child."""
        self.stop()
        if not self._complete:
            raise ConfigError(
                f"{self._path}: not read within {_LIMIT:g} s; check the name server, or write "
                "IP addresses"
            )
        if not self._data:
            raise ConfigError(f"{self._path}: the process that read it was killed; try again")
        result: Config | ConfigError = pickle.loads(self._data)
        if isinstance(result, ConfigError):
            raise result
        return result

    def stop(self) -> None:
        """End the child, whether it has finished or not."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._source)


def _load(path: Path, sink: int) -> NoReturn:
    """Be the child: send the configuration or the ConfigError, and exit."""
    try:
        signal.set_wakeup_fd(-1)
        os.closerange(3, sink)  # listeners and control sockets belong to the master
        os.closerange(sink + 1, os.sysconf("SC_OPEN_MAX"))
        result: Config | ConfigError
        try:
            result = load_config(path)
        except ConfigError as error:
            result = error
        with os.fdopen(sink, "wb") as file:
            pickle.dump(result, file)
    finally:
        os._exit(0)
