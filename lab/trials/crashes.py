"""Trial: one request in twenty crashes its child, hangs, or gets it killed.

The innocent are compared with their own quiet time in the same run. A hanging request holds a child
until the worker's request timeout; there are enough children that some are always free. Where the
child ends on a kept connection, the gateway sends the request once more, as nginx does: it may have
been closed before the request arrived.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from lab.trials.load import (
    ORDINARY,
    Ask,
    Client,
    Load,
    Sample,
    ms,
    quantile,
    require_right,
    rest,
    spread,
)
from lab.trials.programs import Program, configuration, gateway, wait_for, worker
from lab.trials.trial import Settings, Trial, Verdict

_WORKERS: Final = 8
_TIMEOUT: Final = 1.0  # seconds that a request may run
_RATE: Final = 95.0  # ordinary requests a second
_HARMFUL: Final = 5.0
_ROUNDS: Final = 6  # quiet and harmed phases alternate: what else the machine does hits both
_FACTOR: Final = 4.0  # of the quiet 99th percentile
_HOWS: Final = ("segv", "exit", "hang", "kill")


def run(settings: Settings, verdict: Verdict) -> None:
    """Load, in turn without and with harmful requests among it; then look at the pool."""
    harm = [Ask(how, "GET", f"/fail?how={how}", status=502) for how in _HOWS]
    options = ("--workers", str(_WORKERS), "--request-timeout", str(_TIMEOUT))
    quiet: list[Sample] = []
    innocent: list[Sample] = []
    harmed: list[Sample] = []
    with (
        worker(settings.folder, *options) as back,
        gateway(settings.folder, configuration(back.address, workers=2)) as front,
    ):
        with Load(front.address, ORDINARY, rate=_RATE) as load:
            for _ in range(_ROUNDS):
                wait_for(lambda: len(back.children()) == _WORKERS, "the pool is full")
                quiet_from = rest(0.2)
                harmed_from = rest(settings.seconds / _ROUNDS / 2)
                with Load(front.address, harm, clients=8, rate=_HARMFUL) as harmful:
                    harmed_to = rest(settings.seconds / _ROUNDS)
                harmed += harmful.samples
                quiet += load.between(quiet_from, harmed_from)
                innocent += load.between(harmed_from, harmed_to)
        verdict.note(f"{len(harmed)} harmful requests: {_fates(harmed)}; {_ends(back)}")
        unanswered = [sample for sample in harmed if sample.status == 0]
        verdict.require(not unanswered, f"{len(unanswered)} harmful requests without any answer")
        require_right(verdict, load.samples, "innocent requests")
        _compare(settings, verdict, quiet, innocent)
        _look_at_pool(verdict, front, back)


def _compare(
    settings: Settings, verdict: Verdict, quiet: list[Sample], innocent: list[Sample]
) -> None:
    verdict.note(f"quiet: {spread(quiet)}; harmed: {spread(innocent)} (median / p99 / max)")
    before, after = (
        quantile([sample.seconds for sample in samples], 0.99) for samples in (quiet, innocent)
    )
    verdict.require(
        after <= before * _FACTOR * settings.slack,
        f"p99 of the innocent {ms(after)}, {after / before:.1f} × quiet",
    )


def _fates(harmed: list[Sample]) -> str:
    kinds = sorted({(sample.name, sample.status) for sample in harmed})
    return ", ".join(f"{name} {status or 'nothing'}" for name, status in kinds)


def _ends(back: Program) -> str:
    return f"{back.said.count('while it served GET /fail')} children ended"


def _look_at_pool(verdict: Verdict, front: Program, back: Program) -> None:
    """The pool is whole if as many requests run at once as there are children."""
    wait_for(lambda: len(back.children()) >= _WORKERS, "the pool is refilled")
    wait = Ask("wait", "GET", "/wait?ms=300", answer=b"waited 300 ms\n")
    clients = [Client(front.address) for _ in range(_WORKERS)]
    with ThreadPoolExecutor(_WORKERS) as threads:
        samples = list(threads.map(lambda client: client.ask(wait), clients))
    for client in clients:
        client.close()
    right = sum(sample.right for sample in samples)
    children = len(back.children())
    verdict.require(
        right == _WORKERS and children == _WORKERS,
        f"afterwards {children} of {_WORKERS} children, {right} requests served at once",
    )


TRIAL: Final = Trial(
    "crashes",
    f"{_RATE:g} ordinary requests a second for 60 s; beside them {_HARMFUL:g} that end in SIGSEGV,"
    f" os._exit, SIGKILL or hang (request timeout {_TIMEOUT:g} s); {_WORKERS} children",
    "every other request answered; p99 of the innocent under 4 × quiet; the pool is whole",
    run,
)
