"""`lab` as an experiment starts it: what it starts ends with it, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.processes import wait_until

CHAIN = """
import sys
from pathlib import Path
from experiments.lab_process import LabProcess
with LabProcess(Path(sys.argv[1])).chain("--workers", "1"):
    print("up", flush=True)
    sys.stdin.read()
"""


def left(folder: Path) -> list[str]:
    """The command lines of living processes that name a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if f"{folder}/" in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


def test_a_chain_ends_even_with_an_experiment_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHAIN, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            assert left(tmp_path)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    wait_until(lambda: not left(tmp_path), "gateway and worker are gone")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ('run("trace", "hello")', "lab trace: hello: give a path"),
        ('chain("--backend", "apache").__enter__()', "lab up: no back end 'apache'"),
    ],
)
def test_a_command_that_fails_says_why(tmp_path: Path, call: str, told: str) -> None:
    script = (
        "import sys; from pathlib import Path; from experiments.lab_process import LabProcess; "
        f"LabProcess(Path(sys.argv[1])).{call}"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"LabFailed: {told}" in done.stderr.splitlines()[-1]
