"""The Go programs of servers/go, as processes of their own (S10).

`go-http` serves HTTP with net/http, `go-fcgi` FastCGI with net/http/fcgi; what they share, the
framework and the application, is in Go. `--workers` changes nothing: the runtime has a thread for
each core, and a goroutine costs too little to be counted.
"""

from pathlib import Path
from typing import ClassVar

from servers.app.files import PUBLIC
from servers.common.program import Program
from servers.go.built import binary


class GoProgram(Program):
    """A Go program; a subclass names it."""

    name: ClassVar[str]

    def command(self, fd: int, folder: Path) -> list[str]:
        """Return the program and the descriptor it serves on."""
        del folder  # it writes nothing
        return [str(binary(self.name)), "-fd", str(fd)]

    def environment(self) -> dict[str, str]:
        """Return the folder that /file serves: a program that is moved does not know it."""
        return {"CHAINLAB_PUBLIC": str(PUBLIC)}
