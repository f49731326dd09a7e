"""An HTTP/1.1 load driver that the measured server cannot slow down.

    result = run(Plan(target=parse_target("http://127.0.0.1:8080/hello"), rate=5000, ...))
    python -m loadtest.openloop http://127.0.0.1:8080/hello --rate 5000 --duration 10

A closed loop sends the next request after the last answer. A server that stalls for a second
receives no requests in that second, so the stall counts as one slow request among thousands
(coordinated omission). The open loop fixes its send times beforehand: a request that finds no free
connection waits in the driver, and its latency counts from its intended time. Both loops share
the same code, so that the difference can be shown.

    plan, schedule      what to send, and when
    answer              one answer, parsed and verified
    connection, connection_pool
                        one connection, all connections of one process
    exchange, loop      a request and its answer; the epoll loop that sends on schedule
    record, result      the measurements of one process; the merged result
    processes, worker   several processes, one result
    reference, report   an answer fetched before the load; a result as text
    check               manual: compare the driver with wrk

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
