"""A disk that fills up at a moment's notice, for one program, without touching the machine.

For root: a small tmpfs in a mount namespace of the program's own (man unshare(1)), filled by a
file which is written through /proc/PID/root. For others: RLIMIT_FSIZE, lowered and raised from
outside (prlimit(2)); a write then fails with EFBIG instead of ENOSPC.
"""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lab.trials.programs import Program

_SIZE: Final = 8  # MiB
_MOUNT: Final = f'mount -t tmpfs -o size={_SIZE}m trial "$0" && exec "$@"'
_LIMIT: Final = 4096  # bytes of a file, where no tmpfs can be mounted


def can_mount() -> bool:
    """Whether this user may make a mount namespace of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


class LittleDisk:
    """The folder `path`, where a program that starts with `prefix` finds a small disk."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self._real = can_mount()

    @property
    def kind(self) -> str:
        """What fills up, for people."""
        return f"a tmpfs of {_SIZE} MiB" if self._real else f"RLIMIT_FSIZE of {_LIMIT} bytes"

    @property
    def prefix(self) -> Sequence[str]:
        """The beginning of the command that starts a program with this disk."""
        if not self._real:
            return ()
        return (
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            _MOUNT,
            str(self.path),
        )

    def seen_from(self, program: Program) -> Path:
        """Return the folder as the program sees it, as a path of this process."""
        return Path(f"/proc/{program.pid}/root{self.path}") if self._real else self.path

    def fill(self, program: Program) -> None:
        """Leave no byte on the program's disk."""
        if not self._real:
            program.limit(resource.RLIMIT_FSIZE, _LIMIT)
            return
        with (
            contextlib.suppress(OSError),
            (self.seen_from(program) / "filler").open("ab", buffering=0) as filler,
        ):
            while filler.write(bytes(4096)):
                pass

    def free(self, program: Program) -> None:
        """Give the space back."""
        if not self._real:
            program.limit(resource.RLIMIT_FSIZE, None)
            return
        (self.seen_from(program) / "filler").unlink()
