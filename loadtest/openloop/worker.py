"""`python -m loadtest.openloop.worker FD`: one process of the driver, told its part over FD.

It gets (plan, number), opens its connections, says it is ready, gets the time to begin, and says
what it found: a Result. A text instead is what went wrong.
"""

import contextlib
import gc
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from loadtest.openloop.connection_pool import clock
from loadtest.openloop.loop import Loop
from loadtest.openloop.plan import Plan
from loadtest.openloop.result import Cpu, Result, Series

_SPARE: Final = 32  # descriptors that are no connections


def main() -> int:
    """Carry out one process's part."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, who ends us
    with Connection(int(sys.argv[1])) as pipe:
        plan, number = pipe.recv()
        lacking = _raise_limit(plan.share(plan.connections, number) + _SPARE)
        if lacking:
            pipe.send(lacking)
            return 1
        _wake_on_time()
        loop = Loop(plan, number)
        loop.pool.connect()
        gc.collect()
        gc.disable()  # nothing here makes cycles, and a collection is a pause
        pipe.send(True)
        begin = pipe.recv()
        before = _used()
        loop.run(begin)
        spent = Cpu(*(after - then for after, then in zip(_used(), before, strict=True)))
        pipe.send(_result(plan, number, loop, spent))
        with contextlib.suppress(EOFError):
            pipe.recv()  # connections stay until the caller has looked at the server
        loop.pool.close()
    return 0


def _raise_limit(wanted: int) -> str:
    """Allow that many descriptors; return what stands against it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return (
            f"connections: {wanted} descriptors are needed and {hard} allowed; "
            f"give more processes, or raise the limit (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return ""


def _wake_on_time() -> None:
    """Have the kernel wake us when asked, not up to 50 µs later to save a wake-up."""
    with contextlib.suppress(OSError):  # man proc(5): not everywhere writable
        Path("/proc/self/timerslack_ns").write_text("1")


def _used() -> tuple[float, float, float, float]:
    """Return user, system, time without a CPU, and the clock, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    try:
        waited = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # a kernel without CONFIG_SCHED_INFO
        waited = 0.0
    return usage.ru_utime, usage.ru_stime, waited, clock()


def _result(plan: Plan, number: int, loop: Loop, cpu: Cpu) -> Result:
    ours, record = loop.exchanges, loop.exchanges.record
    limited = record.intended >= plan.share(plan.limit, number)
    return Result(
        begun=ours.begun,
        elapsed=ours.last if limited else max(plan.duration, ours.last),
        intended=record.intended,
        sent=record.sent,
        answered=record.answered,
        waited=record.waited,
        errors=dict(record.errors),
        wrong=dict(record.wrong),
        evidence=record.evidence,
        connections=len(loop.pool.connections),
        established=record.established,
        unconnected=dict(record.unconnected),
        opened=record.opened,
        closed_idle=record.closed_idle,
        per_connection=[connection.count for connection in loop.pool.connections],
        cpu=[cpu],
        latency=record.latency.encode(),
        lateness=record.lateness.encode(),
        series=Series(
            answered=[step.answered for step in record.series],
            failed=[step.failed for step in record.series],
            worst_us=[round(step.worst * 1e6) for step in record.series],
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
