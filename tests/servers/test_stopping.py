"""The pieces that stop others' servers: the pipe, the count, the tie to the parent."""

import os
import signal
import subprocess
import sys
import threading
import time

from servers.common.stopping import Running, Waker
from tests.support.processes import is_alive, wait_until


def test_waker_counts() -> None:
    waker = Waker()
    assert not waker.woken
    assert waker.count() == 0
    waker.wake()
    waker.wake()
    assert waker.woken
    assert waker.wait(60)
    assert waker.count() == 2
    assert not waker.woken
    for _ in range(100_000):  # more than a pipe holds
        waker.wake()
    assert waker.woken
    waker.close()
    waker.wake()  # nobody watches any more


def test_waker_wakes_before_pythons_handler_runs() -> None:
    """The wait below is one system call: no bytecode runs in it, so only C can have written."""
    waker = Waker()
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    try:
        waker.wake_on_signals()
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        assert waker.wait(30)
        timer.join()
    finally:
        waker.close()
        signal.signal(signal.SIGUSR1, before)
    assert signal.set_wakeup_fd(-1) == -1


def test_running() -> None:
    running = Running()
    assert running.wait_until_none(0)
    with running:
        begin = time.monotonic()
        assert not running.wait_until_none(0.05)
        assert time.monotonic() - begin >= 0.05
    entered, leave = threading.Event(), threading.Event()

    def serve() -> None:
        with running:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=serve)
    thread.start()
    entered.wait()
    leave.set()
    assert running.wait_until_none(30)
    thread.join()


def test_die_with_parent() -> None:
    program = (
        "import os, time; from servers.common.stopping import die_with_parent\n"
        "parent = os.getpid(); child = os.fork()\n"
        "if not child: die_with_parent(parent); print(os.getpid(), flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    wait_until(lambda: not is_alive(child), "the child is gone")
