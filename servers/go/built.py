"""Whether the Go programs are built, and from the sources that are there: asked, not done.

A stale program would answer with yesterday's code in today's name, so it counts as missing. Time
stamps decide it, as in make; `servers.build` builds.
"""

import shutil
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
"""The Go module."""

PROGRAMS: Final = ("go-http", "go-fcgi")
"""Its commands, each a folder in cmd/."""


def binary(program: str) -> Path:
    """Return where a program is put when it is built."""
    return FOLDER / "bin" / program


def unbuilt(program: str) -> str | None:
    """Return why a program cannot be run and what would help; None: it can."""
    remedy = "run make setup" if shutil.which("go") else "install golang-go, then run make setup"
    try:
        built = binary(program).stat().st_mtime
    except FileNotFoundError:
        return f"not built: {remedy}"
    return f"out of date: {remedy}" if built < _newest() else None


def _newest() -> float:
    """Return when the sources last changed; tests are in no program."""
    sources = (path for path in FOLDER.rglob("*.go") if not path.name.endswith("_test.go"))
    return max(path.stat().st_mtime for path in (FOLDER / "go.mod", *sources))
