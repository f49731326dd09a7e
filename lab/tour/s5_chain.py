"""S5: the chain, ours and the real one: client, front, worker manager, application."""

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
"""Seconds for a child that has taken a connection to read the request from it."""


def _without_the_real_ones() -> str | None:
    return FRONTS["nginx"].unavailable() or PHP_FPM.unavailable()


def _worker_killed(sandbox: Sandbox) -> Measured:
    front, back = sandbox.chain("gateway", "fcgi-worker", 1)
    (child,) = children(back)
    with clients.together(front, 1, "/wait?ms=5000") as crowd:
        for _ in range(2):  # the first may be the connection that asked whether it listens
            wait_until(lambda: has_client(child, back), "the child has taken the connection")
            crowd.finished(within=_AT_WORK)
        child.kill()
        crowd.wait()
    status = crowd.answers[0].status
    wait_until(lambda: _replaced(child.pid, children(back)), "the master has a new child")
    again = clients.ask(front, "/hello")
    got = f"{status} after {crowd.seconds:.2f} s" if status else "no answer"
    key = "a" if status == clients.CUT else "b" if status >= 500 else "c"
    return Measured(key, [
        f"child {child.pid} was killed; the client got {got}",
        f"the master has started {children(back)[0].pid}; the next request: {again.status}",
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
    return Measured(crowd.seconds, [f"answered after {times} s by the children {pids}"])


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
        f"php-fpm is killed, master and children: {answer.head.splitlines()[0]}",
    ])  # fmt: skip


S5 = Stage(
    "S5",
    "The chain: client, front, FastCGI, worker, application",
    "Whoever accepts the client is not who runs the application. The front speaks HTTP with one "
    "and FastCGI with the other; the worker manager keeps processes that run the application.",
    [
        Step(
            look="Our gateway and our worker manager with a single child. A client asks for an "
            "answer that takes 5 seconds; while the application is at it, its process is killed "
            "(kill -9).",
            by_hand="lab up --workers 1, then kill -9 the child",
            question=Pick(
                "What does the client get?",
                {"a": "nothing: its connection breaks", "b": "an answer of the gateway: 5xx",
                 "c": "200: another child takes over"},
            ),
            measure=_worker_killed,
            why="The client's connection is the gateway's, the broken one is between gateway and "
            "worker. The gateway asks again only where another may do better: on a connection that "
            "was kept, and may have died idle, or at another address. Here the one there is died "
            "at work. The master sees its child die (SIGCHLD) and starts another: one failed "
            "request is what a crash costs. Read gateway/exchange.py and fcgi_worker/master.py.",
        ),
        Step(
            look=f"The real nginx and the real php-fpm with {_CHILDREN} children. "
            f"{_CHILDREN + 1} clients at once ask for what takes 1 second.",
            by_hand=f"lab up --front nginx --backend php-fpm --workers {_CHILDREN}",
            question=Number("After how many seconds are all answered?", "s", near=0.2),
            measure=_more_than_children,
            why="A child runs one request at a time, so as many run at once as there are "
            "children; the others wait in the backlog of php-fpm's socket, where nobody has read "
            "them yet. nginx holds thousands of clients in one process, and waits as well.",
            unavailable=_without_the_real_ones,
        ),
        Step(
            look="The same two; now all of php-fpm is killed, and nginx stays.",
            question=Number("With which status does nginx answer?"),
            measure=_without_a_back_end,
            why="Bad Gateway (RFC 9110, section 15.6.3): the one who answers is well, the one "
            "behind it is not. Ours says the same.",
            unavailable=_without_the_real_ones,
        ),
    ],
)  # fmt: skip
