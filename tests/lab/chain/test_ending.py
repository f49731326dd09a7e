"""The lab ends every program it starts, even one that ignores SIGINT or SIGTERM."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lab.chain.processes import end, terminate
from lab.chain.rundir import LabError

STUBBORN = """
import signal, sys, time
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("ignored", "ended_by"),
    [
        ([], signal.SIGINT),
        (["SIGINT"], signal.SIGTERM),
        (["SIGINT", "SIGTERM"], signal.SIGKILL),
    ],
)
def test_a_program_is_ended_whatever_it_ignores(
    ignored: list[str], ended_by: signal.Signals
) -> None:
    command = [sys.executable, "-c", STUBBORN, *ignored]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        begin = time.monotonic()
        end(process, patience=0.5)
        assert time.monotonic() - begin < 60
        assert process.returncode == -ended_by


@pytest.mark.parametrize(
    ("ignored", "ended_by"), [([], signal.SIGTERM), (["SIGTERM"], signal.SIGKILL)]
)
def test_a_program_is_terminated_whatever_it_ignores(
    ignored: list[str], ended_by: signal.Signals
) -> None:
    command = [sys.executable, "-c", STUBBORN, *ignored]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        terminate(process, patience=0.5)
        assert process.returncode == -ended_by


def test_output_that_a_grandchild_holds_open_does_not_block_the_lab() -> None:
    child = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)\n"
    script = STUBBORN.replace("time.sleep", f"{child}time.sleep")
    with subprocess.Popen([sys.executable, "-c", script, "SIGTERM"], stdout=subprocess.PIPE) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == b"ready\n"
        grandchild = int(p.stdout.readline())
        try:
            with pytest.raises(LabError, match="holds its output open"):
                terminate(p, patience=0.2)
            assert p.wait(10) == -signal.SIGKILL
        finally:
            os.kill(grandchild, signal.SIGKILL)


def test_a_lab_in_the_background_starts_programs_that_can_be_interrupted() -> None:
    program = (
        "import signal, subprocess, sys; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "from lab.cli import main; main(['--help'], standalone_mode=False)\n"
        "main.callback()\n"
        "child = 'import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)'\n"
        "print(subprocess.run([sys.executable, '-c', child], capture_output=True).stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("b'False\\n'")
