"""The observing programs. They run where the parts run: on this machine or in a container.

Each writes one line of JSON when it is ready, works until its standard input ends, and then writes
its results. They need only Python's standard library (the client also `chainlab.wire`), because
the container has nothing else.
"""

import json
import sys
from typing import Any


def say(**values: Any) -> None:
    """Write one line of JSON to standard output."""
    print(json.dumps(values), flush=True)


def fail(what: str, remedy: str) -> int:
    """Report an error and its remedy; return the exit code."""
    say(error=what, remedy=remedy)
    return 1


def wait_for_the_end() -> None:
    """Block until standard input ends."""
    while sys.stdin.buffer.read(4096):
        pass
