"""`python -m lab.trace.agents.strace PID`: strace a process and its descendants.

strace stops the process at the entry and the exit of every system call: the sequence is real, the
times are not. Its output has the bytes of each call (`-s`), in hexadecimal (`-xx`) so that data is
never mistaken for strace's own syntax, both ends of each socket (`-yy`), and times in nanoseconds.

SIGINT makes strace detach from the processes, which keep running.
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
import time
from pathlib import Path
from typing import Final

from lab.trace.agents import fail, say, wait_for_the_end

LONGEST: Final = 1 << 18
"""Maximum number of bytes per call that strace records."""

PATIENCE: Final = 30.0
"""Seconds for strace to attach to all processes, and to detach."""

SETTLING: Final = 10.0
"""Seconds for the threads that wait in a system call to enter one that strace sees."""

OPTIONS: Final = (
    *("-f", "-yy", "-xx", "-s", str(LONGEST)),
    *("--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns"),
)


def family(leader: int) -> dict[int, tuple[int, str]]:
    """Return a process and its descendants, from /proc: pid → parent, name."""
    table: dict[int, tuple[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (name) state parent …: the name may contain spaces and parentheses
            begin, _, rest = path.read_text().rpartition(")")
            table[int(path.parent.name)] = (int(rest.split()[1]), begin.partition("(")[2])
    found = {leader: table[leader]} if leader in table else {}
    while more := {
        pid: entry for pid, entry in table.items() if entry[0] in found and pid not in found
    }:
        found.update(more)
    return found


def _in_call(thread: Path) -> bool:
    """Whether a thread is inside a system call, or runs and so may be: man 5 proc, `syscall`."""
    try:
        return not (thread / "syscall").read_text().startswith("-1 ")
    except OSError:  # it has ended, or this kernel does not tell
        return False


class Strace:
    """A running strace."""

    def __init__(self, program: str, pids: list[int], output: Path) -> None:
        attach = [option for pid in pids for option in ("-p", str(pid))]
        self._popen = subprocess.Popen(
            [program, *OPTIONS, "-o", str(output), *attach],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._pids = pids
        self._output = output
        self._waiting = set(pids)
        self._attached = threading.Event()
        self.messages: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Note which processes are attached or have exited meanwhile."""
        assert self._popen.stderr is not None
        for line in self._popen.stderr:
            named = re.search(
                r"Process (\d+) attached|PTRACE_SEIZE, (\d+)\): No such process", line
            )
            if named:
                self._waiting.discard(int(named[1] or named[2]))
            elif "attach" in line:
                self.messages.append(line.strip())
            if not self._waiting:
                self._attached.set()
        self._attached.set()

    def attached(self) -> bool:
        """Wait for strace to attach; return whether it has every process that still exists."""
        self._attached.wait(PATIENCE)
        return not self._waiting and self._popen.poll() is None

    def wait_for_calls(self) -> None:
        """Wait until strace sees the calls in which the threads wait.

        Attached, a thread has been told to interrupt its call and to enter it again, where strace
        sees it. If what it waits for comes before it does so, the call returns unseen.
        """
        deadline = time.monotonic() + SETTLING
        while time.monotonic() < deadline and self._popen.poll() is None:
            seen = set(re.findall(r"^\d+", self._output.read_text(), re.MULTILINE))
            threads = [each for pid in self._pids for each in Path(f"/proc/{pid}/task").glob("*")]
            if not any(_in_call(thread) for thread in threads if thread.name not in seen):
                return
            time.sleep(0.005)

    def stop(self) -> None:
        """Make strace detach and end."""
        self._popen.send_signal(signal.SIGINT)
        try:
            self._popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def main(arguments: list[str]) -> int:
    """Trace until standard input ends, then write strace's output."""
    program = shutil.which("strace")
    if program is None:
        return fail("strace is not installed", "sudo apt install strace")
    processes = family(int(arguments[0]))
    if not processes:
        return fail(f"process {arguments[0]} has ended", "start the chain again: lab up")
    with tempfile.TemporaryDirectory(prefix="chainlab-strace-") as folder:
        output = Path(folder) / "lines"
        strace = Strace(program, list(processes), output)
        if not strace.attached():
            strace.stop()
            return fail(*_not_attached(strace.messages))
        strace.wait_for_calls()
        say(ready=True, processes=[[pid, *entry] for pid, entry in processes.items()])
        wait_for_the_end()
        strace.stop()
        sys.stdout.write(output.read_text())
    return 0


def refusal() -> tuple[str, str] | None:
    """Return what prevents strace from attaching, and the remedy; None if nothing is known to."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if os.geteuid() == 0 or not scope.exists() or scope.read_text().strip() == "0":
        return None
    return (
        "strace may only attach to processes that it started (kernel.yama.ptrace_scope)",
        "run it as root: sudo lab trace; or run sudo sysctl kernel.yama.ptrace_scope=0",
    )


def _not_attached(messages: list[str]) -> tuple[str, str]:
    reason = (messages or ["strace: no message"])[-1].partition("strace: ")[2]
    return refusal() or (
        f"strace cannot attach to the parts ({reason})",
        "run it as root, or as the parts' user (in a container: with --cap-add=SYS_PTRACE)",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
