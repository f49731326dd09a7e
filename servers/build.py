"""`python -m servers.build`: build the programs that are compiled, with the toolchains at hand.

`make setup` calls it every time: it says nothing when all is up to date, else one line for each
program. A toolchain that is missing is no failure, for the other architectures run without it; the
exit code is 1 when a build fails. (The C extension is setuptools' affair: it is in the package.)

Nothing is fetched: the programs need a Go of 1.19 or newer and its standard library.
"""

import os
import shutil
import subprocess
import sys
from typing import Final

from servers.go.built import FOLDER, PROGRAMS, binary, unbuilt

_SETTINGS: Final = {
    "CGO_ENABLED": "0",  # no C compiler, and the same program whether there is one or not
    "GOFLAGS": "",
    "GOPROXY": "off",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}


def build_go() -> bool:
    """Build the Go programs that are missing or out of date; return whether no build failed."""
    reasons = {program: reason for program in PROGRAMS if (reason := unbuilt(program))}
    go = shutil.which("go")
    if go is None:
        for program, reason in reasons.items():
            print(f"{program}: {reason}")
        return True
    failed = [program for program in reasons if not _build(go, program)]
    return not failed


def _build(go: str, program: str) -> bool:
    target = binary(program)
    # Asking git for a revision to stamp in would fail in a tree that somebody else owns.
    command = [go, "build", "-buildvcs=false", "-o", str(target), f"./cmd/{program}"]
    done = subprocess.run(command, cwd=FOLDER, env={**os.environ, **_SETTINGS}, check=False)
    if done.returncode:
        print(f"{program}: not built: go build ended with exit code {done.returncode}")
        return False
    os.utime(target)  # go leaves a target alone that has the right content
    print(f"{program}: built")
    return True


if __name__ == "__main__":
    sys.exit(0 if build_go() else 1)
