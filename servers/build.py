"""`python -m servers.build`: build the Go programs, if Go is installed.

`make setup` runs it every time. It prints one line per program, or nothing if all are up to date.
A missing toolchain is not an error, because the other architectures run without it; the exit code
is 1 if a build fails. (setuptools builds the C extension, as part of the package.)

Nothing is downloaded: the programs need Go 1.19 or newer and its standard library.
"""

import os
import shutil
import subprocess
import sys
from typing import Final

from servers.go.built import FOLDER, PROGRAMS, binary, unbuilt

_SETTINGS: Final = {
    "CGO_ENABLED": "0",  # no C compiler needed; the program is the same with or without one
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
    # Without -buildvcs=false, go runs git, which fails in a tree that another user owns.
    command = [go, "build", "-buildvcs=false", "-o", str(target), f"./cmd/{program}"]
    done = subprocess.run(command, cwd=FOLDER, env={**os.environ, **_SETTINGS}, check=False)
    if done.returncode:
        print(f"{program}: not built: go build failed with exit code {done.returncode}")
        return False
    os.utime(target)  # go does not touch a target whose content is up to date
    print(f"{program}: built")
    return True


if __name__ == "__main__":
    sys.exit(0 if build_go() else 1)
