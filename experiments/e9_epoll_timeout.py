"""E9: epoll_wait's timeout: 0 returns at once, -1 sleeps until an event.

With 0 the call never sleeps and takes only as long as a system call. With -1 it sleeps without
limit. Another process reads its state in /proc before it sends the byte that ends the wait, so
"blocked" is the kernel's statement, not a guess from the elapsed time.
"""

import os
import select
import subprocess
import sys
import time
from typing import Final

from experiments import timing
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.sockets import pair

AT_ONCE: Final = 1000.0
"""µs below which a call did not sleep: a sleep lasts at least a tick, 1 ms on usual kernels."""

HELD: Final = 0.3
"""Seconds before the byte is sent: three hundred times AT_ONCE."""

_LOOKS_THEN_SENDS: Final = """
import os, pathlib, sys, time
stat = pathlib.Path(f"/proc/{sys.argv[1]}/stat")
def state(): return stat.read_text().rpartition(")")[2].split()[0]
deadline = time.monotonic() + 10
while state() != "S" and time.monotonic() < deadline: time.sleep(0.001)
states = []
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    states.append(state())
    time.sleep(0.005)
print("".join(states), time.monotonic_ns(), flush=True)
os.write(int(sys.argv[2]), b"x")
"""


def measure(_limits: Limits) -> Numbers:
    """Time the call with 0 on a silent connection; then wait with -1 for a byte."""
    with pair() as (server, client), select.epoll() as epoll:
        epoll.register(server, select.EPOLLIN)
        look = timing.cost(lambda: epoll.poll(0), calls=500) / 1000
        found = epoll.poll(0)
        arguments = [str(os.getpid()), str(client.fileno()), str(HELD)]
        command = [sys.executable, "-Sc", _LOOKS_THEN_SENDS, *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, pass_fds=[client.fileno()]
        ) as other:
            begin, cpu = time.monotonic_ns(), time.thread_time()
            events = epoll.poll(-1)
            woke, cpu = time.monotonic_ns(), time.thread_time() - cpu
            states, sent = other.communicate()[0].split()
    return {
        "look_us": round(look, 3),
        "look_events": len(found),
        "wait_ms": (woke - begin) / 1e6,
        "wait_cpu_ms": cpu * 1000,
        "wait_events": len(events),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "woke_after_send_us": (woke - int(sent)) / 1000,
    }


def judge(numbers: Numbers) -> list[Finding]:
    """0 must return faster than any sleep, without events; -1 must sleep until the byte comes."""
    at_once = numbers["look_us"] < AT_ONCE and numbers["look_events"] == 0
    asleep = set(numbers["states"]) == {"S"}
    until_event = numbers["woke_after_send_us"] > 0 and numbers["wait_events"] == 1
    key = (
        f"timeout 0: {numbers['look_us']:.2f} µs, no event; timeout -1: slept "
        f"{numbers['wait_ms']:.0f} ms (state {' '.join(numbers['states'])} in all "
        f"{sum(numbers['states'].values())} samples, {numbers['wait_cpu_ms']:.2f} ms of CPU) and "
        f"returned {numbers['woke_after_send_us']:.0f} µs after the byte was sent"
    )
    return [Finding("E9", verdict(at_once and asleep and until_event), key)]


EXPERIMENT = Experiment(
    claims={"E9": "epoll_wait with timeout 0 returns at once; with -1 it blocks until an event."},
    title="epoll_wait's timeouts",
    method="epoll_wait with timeout 0 on a silent connection is timed. Then the process waits with "
    f"-1 while another reads its state in /proc for {HELD * 1000:g} ms and finally sends a byte.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=30, cpu_seconds=10),
)
