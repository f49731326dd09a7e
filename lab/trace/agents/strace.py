"""`python -m lab.trace.agents.strace PID`: strace on a process and all that it started.

strace stops the process at the entry and at the exit of every system call: the sequence is the
real one, the times are not. The bytes of each call are in its output (`-s`, and as hexadecimal
digits, `-xx`, so that nothing in them can be taken for strace's own words); `-yy` names both ends
of each socket, and times are in nanoseconds.

It is told to end by SIGINT, at which it lets go of the processes; they run on.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from lab.trace.agents import fail, say, wait_for_the_end

LONGEST: Final = 1 << 18
"""Bytes of one call that strace writes down."""

PATIENCE: Final = 30.0
"""Seconds for strace to take hold of all processes."""

OPTIONS: Final = (
    *("-f", "-yy", "-xx", "-s", str(LONGEST)),
    *("--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns"),
)


def family(leader: int) -> dict[int, tuple[int, str]]:
    """Return parent and name, by pid, of a process and of all that descend from it, by /proc."""
    table: dict[int, tuple[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            begin, _, rest = path.read_text().rpartition(")")
            table[int(path.parent.name)] = (int(rest.split()[1]), begin.partition("(")[2])
    found = {leader: table[leader]} if leader in table else {}
    while more := {
        pid: entry for pid, entry in table.items() if entry[0] in found and pid not in found
    }:
        found.update(more)
    return found


class Strace:
    """strace, attached."""

    def __init__(self, program: str, pids: list[int], output: Path) -> None:
        attach = [option for pid in pids for option in ("-p", str(pid))]
        self._popen = subprocess.Popen(
            [program, *OPTIONS, "-o", str(output), *attach],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._waiting = set(pids)
        self._attached = threading.Event()
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Note who is attached, and who is gone meanwhile."""
        assert self._popen.stderr is not None
        for line in self._popen.stderr:
            named = re.search(
                r"Process (\d+) attached|PTRACE_SEIZE, (\d+)\): No such process", line
            )
            if named:
                self._waiting.discard(int(named[1] or named[2]))
            elif "attach" in line:
                self.said.append(line.strip())
            if not self._waiting:
                self._attached.set()
        self._attached.set()

    def attached(self) -> bool:
        """Return whether it has got hold of every process that is still there."""
        self._attached.wait(PATIENCE)
        return not self._waiting and self._popen.poll() is None

    def stop(self) -> None:
        """Have it let go."""
        self._popen.send_signal(signal.SIGINT)
        try:
            self._popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def main(arguments: list[str]) -> int:
    """Trace until standard input ends, then write strace's lines."""
    program = shutil.which("strace")
    if program is None:
        return fail("strace is not installed", "sudo apt install strace")
    processes = family(int(arguments[0]))
    if not processes:
        return fail(f"process {arguments[0]} is gone", "start the chain again")
    with tempfile.TemporaryDirectory(prefix="chainlab-strace-") as folder:
        output = Path(folder) / "lines"
        strace = Strace(program, list(processes), output)
        if not strace.attached():
            strace.stop()
            return fail(*_not_attached(strace.said))
        say(ready=True, processes=[[pid, *entry] for pid, entry in processes.items()])
        wait_for_the_end()
        strace.stop()
        sys.stdout.write(output.read_text())
    return 0


def refusal() -> tuple[str, str] | None:
    """Return what forbids attaching to one's own processes, and what helps; None: nothing known."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if os.geteuid() == 0 or not scope.exists() or scope.read_text().strip() == "0":
        return None
    return (
        "strace may not attach to processes that it has not started (kernel.yama.ptrace_scope)",
        "run it as root: sudo lab trace; or sudo sysctl kernel.yama.ptrace_scope=0",
    )


def _not_attached(said: list[str]) -> tuple[str, str]:
    told = (said or ["it said nothing"])[-1].partition("strace: ")[2]
    return refusal() or (
        f"strace cannot attach to the parts ({told})",
        "run it as root, or as the user whose parts they are (a container: --cap-add=SYS_PTRACE)",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
