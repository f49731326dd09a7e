"""S6 to S8: several processes, multiplexing, coroutines."""

from typing import Final

from lab.chain.backends import find_backend
from lab.chain.rundir import LabError
from lab.tour import clients
from lab.tour.sandbox import Sandbox, children, has_client, threads, wait_until
from lab.tour.stage import Measured, Number, Pick, Stage, Step
from lab.trace import syscall_counts

_WORKERS: Final = 4
_MS: Final = 1000
_ROUNDS: Final = 1_000_000
"""Rounds of SHA-256 in one request: some tenths of a second of pure computing."""


def _prefork_busy(sandbox: Sandbox) -> Measured:
    part = sandbox.server("prefork", _WORKERS)
    with clients.together(part, 2 * _WORKERS, "/wait?ms=500") as crowd:
        crowd.wait()
    times = " ".join(f"{each.seconds:.2f}" for each in crowd.answers)
    return Measured(crowd.seconds, [
        f"processes: a master and {len(children(part))} children", f"answers after (s): {times}"
    ])  # fmt: skip


def _prefork_killed(sandbox: Sandbox) -> Measured:
    part = sandbox.server("prefork", _WORKERS)
    before = children(part)
    with clients.together(part, _WORKERS, f"/wait?ms={3 * _MS}") as crowd:
        wait_until(lambda: all(has_client(each, part) for each in before),
                   "every child has a client")  # fmt: skip
        before[0].kill()
        crowd.wait()
    cut = sum(answer.status == clients.CUT for answer in crowd.answers)
    wait_until(lambda: len(children(part)) == _WORKERS, "the master has started a new child")
    fresh = {each.pid for each in children(part)} - {each.pid for each in before}
    return Measured(float(cut), [
        f"child {before[0].pid} was killed; answered: {len(crowd.answers) - cut}, cut off: {cut}",
        f"new child: {' '.join(map(str, sorted(fresh)))}",
    ])  # fmt: skip


def _many_wait(sandbox: Sandbox) -> Measured:
    part = sandbox.server("epoll-lt")
    with clients.together(part, clients.MANY, f"/wait?ms={_MS}") as crowd:
        crowd.wait()
    good = sum(answer.status == 200 for answer in crowd.answers)
    size = f"processes: {1 + len(children(part))}, threads: {threads(part)}"
    seen = f"{good} of {clients.MANY} answered; {size}"
    return Measured(crowd.seconds, [seen])


def _one_computes(sandbox: Sandbox) -> Measured:
    part = sandbox.server("epoll-lt")
    quick = clients.ask(part, "/hello").seconds
    with clients.together(part, 1, f"/cpu?n={_ROUNDS}") as computing:
        if computing.finished(within=0.05):
            raise LabError("this machine finishes the computation too fast for this step")
        answer = clients.ask(part, "/hello")
        computing.wait()
    long = computing.seconds
    key = "b" if answer.seconds > long / 2 else "a"
    return Measured(key, [
        f"GET /hello alone took {quick * 1000:.2f} ms; GET /cpu took {long * 1000:.0f} ms",
        f"GET /hello, sent 50 ms after GET /cpu, took {answer.seconds * 1000:.1f} ms",
    ])  # fmt: skip


def _calls(_sandbox: Sandbox) -> Measured:
    seen, total = [], 0.0
    for name in ("thread", "epoll-lt"):
        rates = syscall_counts.count_per_request(find_backend(name))
        total = sum(rates.values())
        seen.append(f"{name}: " + "  ".join(f"{call} {rate:.3g}" for call, rate in rates.items()))
    return Measured(total, seen)


def _threads(sandbox: Sandbox, name: str) -> Measured:
    part = sandbox.server(name)
    most = clients.most_threads(part, f"/wait?ms={2 * _MS}")
    return Measured(float(most), [f"{name} with {clients.MANY} waiting clients, threads: {most}"])


S6 = Stage(
    "S6",
    "A server with several processes",
    "`prefork`: a master starts N children before any client connects. Each child accepts and "
    "serves one connection at a time, so a blocked child does not block the others.",
    [
        Step(
            setup=f"{_WORKERS} children, and {2 * _WORKERS} clients at once, each with a request "
            "that takes half a second.",
            by_hand=f"python -m servers prefork --listen 127.0.0.1:8000 --workers {_WORKERS}",
            question=Number(
                "After how many seconds does the last client get its answer?", "s", near=0.2
            ),
            measure=_prefork_busy,
            why="Only as many requests run at once as there are children; the others wait in the "
            "backlog. More children would help, at a few MiB each. Read "
            "servers/blocking/prefork.py.",
        ),
        Step(
            setup=f"{_WORKERS} clients, one per child; then one child is killed (kill -9).",
            question=Number(f"How many of the {_WORKERS} clients get no answer?"),
            measure=_prefork_killed,
            why="Processes share no memory: one that dies takes only its own connection with it. "
            "Threads and event loops give up this isolation.",
        ),
    ],
)

S7 = Stage(
    "S7",
    "I/O multiplexing",
    "`epoll-lt`: one process with one thread waits for all connections at once. Only the waiting "
    "call blocks.",
    [
        Step(
            setup=f"One process and {clients.MANY} clients at once, each with a request that "
            "waits 1 second.",
            by_hand="python -m servers epoll-lt --listen 127.0.0.1:8000",
            question=Number(
                "After how many seconds does the last client get its answer?", "s", near=0.3
            ),
            measure=_many_wait,
            why="A waiting request costs a timer, not a process. Read "
            "servers/multiplexing/readiness.py and pollers.py.",
        ),
        Step(
            setup="The same process. One client sends a request that computes and does not wait "
            f"(GET /cpu?n={_ROUNDS}); 50 ms later a second client sends GET /hello.",
            question=Pick(
                "When does the second client get its answer?",
                {"a": "at once: it is another connection", "b": "when the computation is done"},
            ),
            measure=_one_computes,
            why="One thread does one thing at a time. Multiplexing overlaps waiting, never "
            "computing; computing in parallel takes more processes, as in epoll-exclusive.",
        ),
        Step(
            setup="strace counts the system calls of one request on a keep-alive connection: for "
            "`thread`, which blocks in recv, and for `epoll-lt`.",
            by_hand="lab explain epoll-lt",
            question=Number("How many calls does epoll-lt make per request?", near=0.05),
            measure=_calls,
            why="One more than the blocking server: it asks which connections are ready, then "
            "reads. For a single connection multiplexing is not faster (claim M4); it wins with "
            "many.",
            unavailable=syscall_counts.unavailable,
        ),
    ],
)  # fmt: skip

S8 = Stage(
    "S8",
    "Coroutines with yield",
    "An event loop splits code into callbacks. A generator keeps it in one piece: at each yield it "
    "says what it waits for, and the loop continues another generator.",
    [
        Step(
            setup="First, the other way to keep code in one piece: `thread`, with a thread per "
            f"connection. {clients.MANY} clients wait at once.",
            question=Number("How many threads does the process have then?", near=0.05),
            measure=lambda sandbox: _threads(sandbox, "thread"),
            why="One per client, and the main thread. Each has its own stack and is scheduled by "
            "the kernel.",
        ),
        Step(
            setup=f"The same {clients.MANY} clients with `coroutine`.",
            by_hand="python -m servers coroutine --listen 127.0.0.1:8000",
            question=Number("How many threads does the process have now?"),
            measure=lambda sandbox: _threads(sandbox, "coroutine"),
            why="A hundred generators are suspended at a yield, each an object of a few hundred "
            "bytes. Below them is the same epoll. Read servers/coroutine/generators.py and "
            "scheduler.py.",
        ),
    ],
)
