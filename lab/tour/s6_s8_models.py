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
"""Of SHA-256 in one request: some tenths of a second of pure computing."""


def _prefork_busy(sandbox: Sandbox) -> Measured:
    part = sandbox.server("prefork", _WORKERS)
    with clients.together(part, 2 * _WORKERS, "/wait?ms=500") as crowd:
        crowd.wait()
    times = " ".join(f"{each.seconds:.2f}" for each in crowd.answers)
    return Measured(crowd.seconds, [
        f"processes: a master and {len(children(part))} children", f"answered after (s): {times}"
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
    wait_until(lambda: len(children(part)) == _WORKERS, "the master has a new child")
    fresh = {each.pid for each in children(part)} - {each.pid for each in before}
    return Measured(float(cut), [
        f"child {before[0].pid} was killed; {len(crowd.answers) - cut} clients got 200, {cut} none",
        f"new: {' '.join(map(str, sorted(fresh)))}",
    ])  # fmt: skip


def _many_wait(sandbox: Sandbox) -> Measured:
    part = sandbox.server("epoll-lt")
    with clients.together(part, clients.MANY, f"/wait?ms={_MS}") as crowd:
        crowd.wait()
    good = sum(answer.status == 200 for answer in crowd.answers)
    who = f"{1 + len(children(part))} process, {threads(part)} thread"
    seen = f"{good} of {clients.MANY} answered by {who}"
    return Measured(crowd.seconds, [seen])


def _one_computes(sandbox: Sandbox) -> Measured:
    part = sandbox.server("epoll-lt")
    quick = clients.ask(part, "/hello").seconds
    with clients.together(part, 1, f"/cpu?n={_ROUNDS}") as computing:
        if computing.finished(within=0.05):
            raise LabError("this machine computes too fast for this step")
        answer = clients.ask(part, "/hello")
        computing.wait()
    long = computing.seconds
    key = "b" if answer.seconds > long / 2 else "a"
    return Measured(key, [
        f"GET /hello alone: {quick * 1000:.2f} ms; GET /cpu: {long * 1000:.0f} ms",
        f"GET /hello, asked 50 ms after it: {answer.seconds * 1000:.1f} ms",
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
    return Measured(float(most), [f"{clients.MANY} clients waiting at {name}: threads: {most}"])


S6 = Stage(
    "S6",
    "A server of several processes",
    "`prefork`: a master makes N children before anybody comes; each accepts and serves one "
    "connection at a time. What blocks one does not block the others.",
    [
        Step(
            look=f"{_WORKERS} children, {2 * _WORKERS} clients at once, each asking for what takes "
            "half a second.",
            by_hand=f"python -m servers prefork --listen 127.0.0.1:8000 --workers {_WORKERS}",
            question=Number("After how many seconds is the last one answered?", "s", near=0.2),
            measure=_prefork_busy,
            why="As many wait at once as there are processes; the others sit in the backlog. More "
            "processes would help, at some MiB each. Read servers/blocking/prefork.py.",
        ),
        Step(
            look=f"{_WORKERS} clients, one on each child; then one child is killed (kill -9).",
            question=Number(f"How many of the {_WORKERS} clients get no answer?"),
            measure=_prefork_killed,
            why="Processes share no memory: one that dies takes its own connection with it and "
            "nothing else. This is what threads and event loops give up.",
        ),
    ],
)

S7 = Stage(
    "S7",
    "I/O multiplexing",
    "`epoll-lt`: one process, one thread, and it waits for all connections at once. No call blocks "
    "but the one that waits.",
    [
        Step(
            look=f"One process and {clients.MANY} clients at once, each asking for what takes "
            "1 second of waiting.",
            by_hand="python -m servers epoll-lt --listen 127.0.0.1:8000",
            question=Number("After how many seconds is the last one answered?", "s", near=0.3),
            measure=_many_wait,
            why="Waiting costs a timer, not a process. Read servers/multiplexing/readiness.py and "
            "pollers.py.",
        ),
        Step(
            look="The same process. One client asks for what takes computing and no waiting "
            f"(GET /cpu?n={_ROUNDS}); 50 ms later another one asks GET /hello.",
            question=Pick(
                "When is the second one answered?",
                {"a": "at once: it is another connection", "b": "when the computing is done"},
            ),
            measure=_one_computes,
            why="One thread does one thing. Multiplexing overlaps waiting, never computing: for "
            "that there are more processes, as in epoll-exclusive.",
        ),
        Step(
            look="The system calls of one request on a kept connection, counted by strace: for "
            "`thread`, which blocks in recv, and for `epoll-lt`.",
            by_hand="lab explain epoll-lt",
            question=Number("How many calls does epoll-lt make per request?"),
            measure=_calls,
            why="One more than the blocking one: it asks who is ready, and then reads. For a "
            "single connection multiplexing is not faster (claim M4); it wins with many.",
            unavailable=syscall_counts.unavailable,
        ),
    ],
)  # fmt: skip

S8 = Stage(
    "S8",
    "Coroutines with yield",
    "An event loop's code is cut into callbacks. A generator lets it be written in one piece "
    "again: at each yield it says what it waits for, and the loop goes on with another one.",
    [
        Step(
            look=f"First the other way to have code in one piece: `thread`, a thread for each "
            f"connection. {clients.MANY} clients wait at once.",
            question=Number("How many threads has the process then?", near=0.05),
            measure=lambda sandbox: _threads(sandbox, "thread"),
            why="One for each client, and the main one. Each has a stack and is scheduled by "
            "the kernel.",
        ),
        Step(
            look=f"The same {clients.MANY} clients at `coroutine`.",
            by_hand="python -m servers coroutine --listen 127.0.0.1:8000",
            question=Number("How many threads has the process now?"),
            measure=lambda sandbox: _threads(sandbox, "coroutine"),
            why="A hundred generators stand still at a yield, as objects of some hundred bytes. "
            "Below them is the same epoll. Read servers/coroutine/generators.py and scheduler.py.",
        ),
    ],
)
