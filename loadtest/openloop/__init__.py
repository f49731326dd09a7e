"""An HTTP/1.1 load driver that cannot be slowed down by what it measures.

    result = run(Plan(target=parse_target("http://127.0.0.1:8080/hello"), rate=5000, ...))
    python -m loadtest.openloop http://127.0.0.1:8080/hello --rate 5000 --duration 10

A closed loop sends the next request when the last one was answered, so a server that stalls for a
second is asked nothing in that second, and the stall is one slow request among thousands
(coordinated omission). The open loop has its times beforehand; a request that finds no free
connection waits here, and its latency counts from the time at which it should have left. Both
loops are here, on the same code, so that the difference can be shown.

    plan, schedule      what to send, and when
    answer              one answer, taken apart and verified
    slot, places        a connection, all connections of one process
    exchange, loop      a request and its answer, and the epoll loop that sends when it is time
    record, result      what a process found; what all of them found, for reports
    processes, part     several processes, one result
    reference, report   an answer fetched before the load; a result in lines
    check               by hand: the driver beside wrk

Every answer is verified: status, framing, the exact body. Errors and timeouts stay in the
distribution. A request costs the driver 15 to 25 µs of CPU, two thirds of it in the kernel.
"""

from loadtest.openloop.plan import Plan, PlanError, Target, make_request, parse_target
from loadtest.openloop.processes import DriverFailed, run
from loadtest.openloop.reference import fetch_body
from loadtest.openloop.result import Cpu, Result, Series, merge_histograms

__all__ = [
    "Cpu",
    "DriverFailed",
    "Plan",
    "PlanError",
    "Result",
    "Series",
    "Target",
    "fetch_body",
    "make_request",
    "merge_histograms",
    "parse_target",
    "run",
]
