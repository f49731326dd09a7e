"""A minimal C server: the baseline; other servers' costs are multiples of it.

    program = build(folder)
    subprocess.Popen([program, str(listener.fileno())], pass_fds=[listener.fileno()])

Compiled on demand, in a third of a second: a binary from another machine's compiler would be a
different baseline. See floor.c for what it leaves out.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("floor.c")


class NoCompiler(LookupError):
    """The floor cannot be built here; the message says what helps."""


def build(folder: Path) -> Path:
    """Compile it into `folder`, and return the program; NoCompiler when that cannot be."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise NoCompiler("the C floor is not built: install gcc")
    program = folder / "floor"
    command = [compiler, "-O2", "-std=c11", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoCompiler(f"gcc did not build the C floor: {done.stderr.strip()}; install libc6-dev")
    return program
