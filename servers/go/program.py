"""Runs the Go programs of servers/go as separate processes (S10).

`go-http` serves HTTP with net/http, `go-fcgi` serves FastCGI with net/http/fcgi; both share the
framework and the application, which are in Go. `--workers` has no effect: the runtime has one
thread per core, and goroutines are too cheap to limit.
"""

from pathlib import Path
from typing import ClassVar

from servers.app.files import PUBLIC
from servers.common.program import Program
from servers.go.built import binary


class GoProgram(Program):
    """A Go program; a subclass sets its name."""

    name: ClassVar[str]

    def command(self, fd: int, folder: Path) -> list[str]:
        """Return the command, with the listener's descriptor."""
        del folder  # it writes nothing
        return [str(binary(self.name)), "-fd", str(fd)]

    def environment(self) -> dict[str, str]:
        """Return the folder that /file serves, which the program does not know."""
        return {"CHAINLAB_PUBLIC": str(PUBLIC)}
