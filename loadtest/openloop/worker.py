"""`python -m loadtest.openloop.worker FD`: one driver process, controlled over socket FD.

The worker receives (plan, worker_id), opens its connections, reports ready, receives the start
time, and sends its Result. If it fails, it sends an error message instead.
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

_SPARE: Final = 32  # descriptors besides connections


def main() -> int:
    """Run one worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller handles Ctrl-C and ends this process
    with Connection(int(sys.argv[1])) as pipe:
        plan, worker_id = pipe.recv()
        error = _raise_limit(plan.share(plan.connections, worker_id) + _SPARE)
        if error:
            pipe.send(error)
            return 1
        _wake_on_time()
        loop = Loop(plan, worker_id)
        loop.pool.connect()
        gc.collect()
        gc.disable()  # nothing below makes cycles, and a collection would be a pause
        pipe.send(True)
        begin = pipe.recv()
        before = _used()
        loop.run(begin)
        spent = Cpu(*(after - then for after, then in zip(_used(), before, strict=True)))
        pipe.send(_result(plan, worker_id, loop, spent))
        with contextlib.suppress(EOFError):
            pipe.recv()  # keep connections open until the caller has inspected the server
        loop.pool.close()
    return 0


def _raise_limit(wanted: int) -> str:
    """Raise the descriptor limit to `wanted`; return an error message if that fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return (
            f"connections: {wanted} descriptors needed, {hard} allowed; "
            f"give more processes or raise the limit (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return ""


def _wake_on_time() -> None:
    """Set the timer slack to 1 ns: by default the kernel may delay a wake-up by 50 µs."""
    with contextlib.suppress(OSError):  # not writable everywhere, see man proc(5)
        Path("/proc/self/timerslack_ns").write_text("1")


def _used() -> tuple[float, float, float, float]:
    """Return in seconds: user, system, time runnable without a CPU, and the clock."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    try:
        waited = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # a kernel without CONFIG_SCHED_INFO
        waited = 0.0
    return usage.ru_utime, usage.ru_stime, waited, clock()


def _result(plan: Plan, worker_id: int, loop: Loop, cpu: Cpu) -> Result:
    exchanges, record = loop.exchanges, loop.exchanges.record
    limited = record.intended >= plan.share(plan.limit, worker_id)
    return Result(
        begun=exchanges.begun,
        elapsed=exchanges.last if limited else max(plan.duration, exchanges.last),
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
