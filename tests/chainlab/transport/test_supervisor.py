"""The supervisor in a master of its own: what it records, forks, kills, and leaves behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import is_alive, wait_until

ROOT = Path(__file__).parents[3]

PRELUDE = """
import os, select, signal, sys, time
from chainlab.transport.supervisor import Supervisor

supervisor = Supervisor([signal.SIGTERM, signal.SIGUSR1])
supervisor.install()

def until(condition):
    while not condition():
        for process in supervisor.wait(1.0):
            messages.append(process.control.recv(99))
            if not messages[-1]:
                supervisor.hang_up(process)
        ended.extend(supervisor.reap())

messages, ended = [], []
"""


def run(program: str) -> subprocess.Popen[str]:
    """Run a master; the caller waits for it."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def told(program: str) -> list[str]:
    """Run a master to its end; return the words that it prints."""
    with run(program) as master:
        out, _ = master.communicate(timeout=60)
        assert master.returncode == 0
    return out.split()


def test_a_process_talks_to_its_master_and_is_reaped() -> None:
    program = """
def become(control):
    control.send(b"hello")
    os._exit(7)

process = supervisor.fork(become)
until(lambda: ended and b"" in messages)
print(messages[0].decode(), ended == [(process, 7)], process.control)
supervisor.forget(process)
"""
    assert told(program) == ["hello", "True", "None"]


def test_signals_are_recorded_in_order_and_wake_the_loop() -> None:
    program = """
for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1):
    os.kill(os.getpid(), number)
begin = time.monotonic()
supervisor.wait(30)
print(*[int(supervisor.take_signal()) for _ in range(4)], time.monotonic() - begin < 20)
"""
    assert told(program) == ["10", "15", "10", "0", "True"]


def test_a_signal_before_the_process_has_its_handlers_is_kept() -> None:
    program = """
def become(control):
    control.recv(1)  # the signal has been sent
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(5))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    time.sleep(60)

process = supervisor.fork(become)
os.kill(process.pid, signal.SIGUSR1)
process.control.send(b"x")
until(lambda: ended)
print(ended[0][1], supervisor.take_signal())
"""
    assert told(program) == ["5", "0"]


def test_a_process_that_does_not_end_in_time_is_killed() -> None:
    program = """
def become(control):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control.send(b"deaf")
    time.sleep(60)

process = supervisor.fork(become)
until(lambda: messages)
supervisor.end(process, signal.SIGTERM, 0.1)
killed = []
until(lambda: killed.extend(supervisor.kill_late()) or ended)
print(killed == [process], ended[0][1])
"""
    assert told(program) == ["True", "-9"]


def test_a_process_inherits_nothing_of_its_siblings() -> None:
    program = """
def become(control):
    control.send(" ".join(sorted(os.listdir("/proc/self/fd"), key=int)).encode())
    time.sleep(60)

forked = [supervisor.fork(become) for _ in range(3)]
until(lambda: len(messages) == 3)
print(len(set(message.count(b" ") for message in messages)))
for process in forked:
    supervisor.end(process, signal.SIGKILL, 1)
"""
    assert told(program) == ["1"]


def test_a_missing_resource_costs_a_fork_and_nothing_else() -> None:
    program = """
import resource
before = len(os.listdir("/proc/self/fd"))
for spare in range(5):
    limit = max(map(int, os.listdir("/proc/self/fd"))) + spare
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 4096))
    try:
        process = supervisor.fork(lambda control: os._exit(0))
    except OSError as error:
        print(error.errno)
        continue
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    until(lambda: ended)
    supervisor.forget(process)
    ended.clear()
print(len(os.listdir("/proc/self/fd")) - before)
"""
    *errors, leaked = told(program)
    assert set(errors) == {"24"}
    assert leaked == "0"


@pytest.mark.parametrize("when", ["at once", "later"])
@pytest.mark.parametrize("doing", ["sleeping", "computing"])
def test_no_process_outlives_its_master(when: str, doing: str) -> None:
    """Also one that is between the fork and its first instruction when the master is killed."""
    program = f"""
class Slow(Supervisor):
    def _leave_to(self, lives):
        while {when == "at once"} and os.getppid() == master:
            time.sleep(0.01)
        super()._leave_to(lives)

def become(control):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.write(1, b"on\\n")  # in one piece
    while True:
        time.sleep(60 if {doing == "sleeping"} else 0)

master = os.getpid()
supervisor.__class__ = Slow
os.write(1, b"%d\\n" % supervisor.fork(become).pid)
time.sleep(60)
"""
    with run(program) as master:
        assert master.stdout is not None
        lines = [master.stdout.readline() for _ in range(1 if when == "at once" else 2)]
        (pid,) = [int(line) for line in lines if line.strip().isdigit()]
        os.kill(master.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), "the process has followed")
