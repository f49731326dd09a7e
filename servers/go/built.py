"""Checks whether the Go programs are built from the current sources; `servers.build` builds them.

A program older than its sources counts as missing, because it would run outdated code. Time stamps
decide, as in make.
"""

import shutil
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
"""The Go module."""

PROGRAMS: Final = ("go-http", "go-fcgi")
"""Its commands, each in a folder of cmd/."""


def binary(program: str) -> Path:
    """Return the path of a built program."""
    return FOLDER / "bin" / program


def unbuilt(program: str) -> str | None:
    """Return why a program cannot run and how to fix that, or None if it can."""
    remedy = "run make setup" if shutil.which("go") else "install golang-go, then run make setup"
    try:
        built = binary(program).stat().st_mtime
    except FileNotFoundError:
        return f"not built: {remedy}"
    return f"out of date: {remedy}" if built < _newest() else None


def _newest() -> float:
    """Return when the sources, without tests, last changed."""
    sources = (path for path in FOLDER.rglob("*.go") if not path.name.endswith("_test.go"))
    return max(path.stat().st_mtime for path in (FOLDER / "go.mod", *sources))
