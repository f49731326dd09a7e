"""S5: the chain (client, front end, worker manager, application), ours and the real one."""

import contextlib
import signal
from typing import Final

import psutil

from lab.chain.fronts import FRONTS
from lab.chain.worker_managers import PHP_FPM
from lab.tour import clients
from lab.tour.sandbox import Sandbox, children, has_client, wait_until
from lab.tour.stage import Measured, Number, Pick, Stage, Step

_CHILDREN: Final = 2
_AT_WORK: Final = 0.3
"""Seconds for a child to read the request after accepting the connection."""


def _without_the_real_ones() -> str | None:
    return FRONTS["nginx"].unavailable() or PHP_FPM.unavailable()


def _worker_killed(sandbox: Sandbox) -> Measured:
    front, back = sandbox.chain("gateway", "fcgi-worker", 1)
    (child,) = children(back)
    with clients.together(front, 1, "/wait?ms=5000") as crowd:
        for _ in range(2):  # the first connection may be the probe of the start
            wait_until(lambda: has_client(child, back), "the child has accepted the connection")
            crowd.finished(within=_AT_WORK)
        child.kill()
        crowd.wait()
    status = crowd.answers[0].status
    wait_until(lambda: _replaced(child.pid, children(back)), "the master has started a new child")
    again = clients.ask(front, "/hello")
    got = f"{status} after {crowd.seconds:.2f} s" if status else "no answer"
    key = "a" if status == clients.CUT else "b" if status >= 500 else "c"
    return Measured(key, [
        f"child {child.pid} was killed; the client got {got}",
        f"the master started {children(back)[0].pid}; the next request: {again.status}",
    ])  # fmt: skip


def _replaced(old: int, now: list[psutil.Process]) -> bool:
    return any(each.pid != old for each in now)


def _more_than_children(sandbox: Sandbox) -> Measured:
    front, back = sandbox.chain("nginx", "php-fpm", _CHILDREN)
    clients.ask(front, "/hello")
    with clients.together(front, _CHILDREN + 1, "/wait?ms=1000") as crowd:
        crowd.wait()
    times = ", ".join(f"{each.seconds:.2f}" for each in crowd.answers)
    pids = " ".join(str(each.pid) for each in children(back))
    return Measured(crowd.seconds, [f"answered after {times} s, by children {pids}"])


def _without_a_back_end(sandbox: Sandbox) -> Measured:
    front, back = sandbox.chain("nginx", "php-fpm", _CHILDREN)
    before = clients.ask(front, "/hello")
    family = [psutil.Process(back.pid), *children(back)]
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=5)
    answer = clients.ask(front, "/hello")
    return Measured(float(answer.status), [
        f"before: {before.head.splitlines()[0]}",
        f"after killing php-fpm, master and children: {answer.head.splitlines()[0]}",
    ])  # fmt: skip


S5 = Stage(
    "S5",
    "The chain: client, front end, FastCGI, worker, application",
    "One program accepts the client, another runs the application. The front end speaks HTTP with "
    "the client and FastCGI with the worker manager, whose processes run the application.",
    [
        Step(
            setup="Our gateway and our worker manager with a single child. A client sends a "
            "request that takes 5 seconds; while the application works on it, its process is "
            "killed (kill -9).",
            by_hand="lab up --workers 1, then kill -9 the child",
            question=Pick(
                "What does the client get?",
                {"a": "no answer: its connection breaks", "b": "a 5xx answer from the gateway",
                 "c": "200: another child takes over"},
            ),
            measure=_worker_killed,
            why="The client is connected to the gateway; only the connection between gateway and "
            "worker breaks. The gateway retries only where that may help: if a kept connection may "
            "have been closed while idle, or at another address. Here the only worker died at "
            "work. The master sees its child die (SIGCHLD) and starts another, so a crash costs "
            "one failed request. Read gateway/exchange.py and fcgi_worker/master.py.",
        ),
        Step(
            setup=f"The real nginx and the real php-fpm with {_CHILDREN} children. "
            f"{_CHILDREN + 1} clients at once send a request that takes 1 second.",
            by_hand=f"lab up --front nginx --backend php-fpm --workers {_CHILDREN}",
            question=Number("After how many seconds do all have their answer?", "s", near=0.2),
            measure=_more_than_children,
            why="A child runs one request at a time, so only as many run at once as there are "
            "children; the others wait unread in the backlog of php-fpm's socket. nginx, which "
            "serves thousands of clients in one process, waits with them.",
            unavailable=_without_the_real_ones,
        ),
        Step(
            setup="The same two; now all processes of php-fpm are killed, while nginx keeps "
            "running.",
            question=Number("With which status does nginx answer?"),
            measure=_without_a_back_end,
            why="502 Bad Gateway (RFC 9110, section 15.6.3): the server that answers works, the "
            "one behind it does not. Our gateway answers the same.",
            unavailable=_without_the_real_ones,
        ),
    ],
)  # fmt: skip
