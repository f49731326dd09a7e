"""Experiments that misbehave, each in its own way: `python -m tests.experiments.made NAME`."""

import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from experiments import child
from experiments.frame import Experiment, Finding, Limits, NotHere, Numbers, verdict


def _hang(_limits: Limits) -> Numbers:
    """Sleep, and leave a child that sleeps too, in a file named by its pid."""
    if (pid := os.fork()) == 0:
        time.sleep(600)
        os._exit(0)
    Path(sys.argv[2]).write_text(str(pid))
    time.sleep(600)
    return {}


def _crash(_limits: Limits) -> Numbers:
    raise ValueError("a crash on purpose")


def _fault(_limits: Limits) -> Numbers:
    ctypes.string_at(0)
    return {}


def _eat(_limits: Limits) -> Numbers:
    return {"eaten": len(bytearray(1 << 30))}


def _open(limits: Limits) -> Numbers:
    opened = 0
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
            opened += 1
    except OSError:
        return {"opened": opened, "allowed": limits.descriptors}


def _lack(_limits: Limits) -> Numbers:
    raise NotHere("no such thing on this machine", "get one")


def _say(_limits: Limits) -> Numbers:
    os.write(1, b"not JSON\n")
    return {"said": True}


BODIES: dict[str, Callable[[Limits], Numbers]] = {
    "hang": _hang, "crash": _crash, "fault": _fault, "eat": _eat, "open": _open, "lack": _lack,
    "say": _say,
}  # fmt: skip


def made(name: str, seconds: float = 30) -> Experiment:
    """Return one of them; it has two claims."""
    return Experiment(
        claims={"K98": "made up", "K99": "made up"},
        title="made up",
        method="none",
        measure=BODIES[name],
        judge=lambda numbers: [
            Finding(claim, verdict(bool(numbers)), str(numbers)) for claim in ("K98", "K99")
        ],
        limits=Limits(seconds=seconds, memory=512 << 20, descriptors=50),
    )


if __name__ == "__main__":
    out = os.dup(1)
    os.dup2(2, 1)
    os.write(out, child.run(made(sys.argv[1])).to_json().encode())
