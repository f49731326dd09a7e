"""The programs that watch: started where the parts run, on this machine or in their container.

Each says one line of JSON when it is ready, works until its standard input ends, and then writes
what it has. They need Python and its standard library alone (the client also `wire`), because a
container has no more.
"""

import json
import sys
from typing import Any


def say(**values: Any) -> None:
    """Write one line of JSON to whoever started this program."""
    print(json.dumps(values), flush=True)


def fail(what: str, remedy: str) -> int:
    """Say what does not work and what helps; return the exit code."""
    say(error=what, remedy=remedy)
    return 1


def wait_for_the_end() -> None:
    """Return when standard input has ended."""
    while sys.stdin.buffer.read(4096):
        pass
