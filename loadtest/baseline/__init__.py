"""A minimal C server: the baseline. Other servers' costs are given as multiples of its cost.

    program = build(folder)
    subprocess.Popen([program, str(listener.fileno())], pass_fds=[listener.fileno()])

Compiled on demand, in a third of a second: a binary from another machine's compiler would be a
different baseline. See baseline.c for what it leaves out.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("baseline.c")


class NoCompiler(LookupError):
    """The baseline cannot be built here; the message says what to install."""


def build(folder: Path) -> Path:
    """Compile the baseline into `folder` and return the program; NoCompiler on failure."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise NoCompiler("cannot build the C baseline: install gcc")
    program = folder / "baseline"
    command = [compiler, "-O2", "-std=c11", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoCompiler(
            f"gcc cannot build the C baseline: {done.stderr.strip()}; install libc6-dev"
        )
    return program
