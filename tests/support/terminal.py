"""A program in its own pseudoterminal: wait for its output, type keys."""

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Self

from tests.support.processes import PATIENCE

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """Runs a command that sees an interactive terminal."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""
        self._seen = 0

    def type(self, keys: str) -> None:
        """Press keys; "\\n" is Enter, "\\x03" Ctrl-C."""
        os.write(self._ours, keys.encode())

    def expect(self, text: str, seconds: float = PATIENCE) -> str:
        """Wait for `text`; return the output before it, since the last match, or AssertionError."""
        deadline = time.monotonic() + seconds
        while (at := self.shown.find(text, self._seen)) < 0:
            more = self._read(deadline - time.monotonic())
            assert more, f"{text!r} did not come; shown: {self.shown[self._seen :]}"
        before, self._seen = self.shown[self._seen : at], at + len(text)
        return before

    def _read(self, seconds: float) -> bool:
        if not select.select([self._ours], [], [], max(0.0, seconds))[0]:
            return False
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # EIO: no process has the other side open
            return False
        self.shown += _ESCAPES.sub("", piece.decode(errors="replace"))
        return bool(piece)

    def close(self) -> None:
        """Close the terminal: the program reads end-of-file and gets SIGHUP."""
        os.close(self._ours)
        self._ours = -1

    def end(self, seconds: float = PATIENCE) -> int:
        """Wait until the program exits by itself, reading its output; return the exit code."""
        deadline = time.monotonic() + seconds
        while self._ours >= 0 and self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        if self._ours >= 0:
            self.close()
