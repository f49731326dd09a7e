"""Trial: worker and gateway are stopped and started again, in turn, under load.

The application starts processes in every way: a pool that stays, a fork, a program. Requests may
fail while a program is away, but each client gets an answer or the end of its connection.
"""

import contextlib
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Final

from lab.chain.processes import free_port
from lab.trials.load import ORDINARY, Ask, Client, Load, Sample, troubles
from lab.trials.programs import Program, configuration, gateway, wait_for, worker
from lab.trials.trial import Settings, Trial, Verdict

_RESTARTS: Final = 100
_STOPS: Final = (signal.SIGQUIT, signal.SIGTERM, signal.SIGINT)
_FAMILY: Final = Ask("family", "GET", "/family", answer=b"3 child\n")
_STOP: Final = 20.0  # seconds that a stop may take
_GONE: Final = 2.0  # seconds after the master's end for its last processes
_TIMEOUT: Final = 20.0  # seconds after which a client counts as hanging


class Restarted:
    """A program that is stopped and started again; counts what a stop leaves behind."""

    def __init__(self, start: Callable[[], AbstractContextManager[Program]], sock: Path) -> None:
        self._start = start
        self._socket = sock
        self._stack = contextlib.ExitStack()
        self.program = self._stack.enter_context(start())
        self.orphans = self.sockets = self.late = 0

    def restart(self, number: signal.Signals) -> None:
        """Stop it by the signal, count, and start it again."""
        self.program.signal(number)
        self.late += self.program.wait(_STOP) is None
        begun = time.monotonic()
        while (left := self.program.processes()) and time.monotonic() - begun < _GONE:
            time.sleep(0.02)
        self.orphans += len(left)
        self.sockets += self._socket.exists()
        self.close()
        self.program = self._stack.enter_context(self._start())

    def close(self) -> None:
        """End it, and whatever a stop has left."""
        self._stack.close()


def run(settings: Settings, verdict: Verdict) -> None:
    """Restart worker and gateway in turn; then ask whether all is well."""
    count = settings.scaled(_RESTARTS, 6)
    here, listen = settings.folder, f"127.0.0.1:{free_port()}"
    sockets = here / "worker.sock", here / "front.sock"
    config = configuration(f"unix:{sockets[0]}", listen=listen, workers=2)
    config = config.replace("]\n", f', "unix:{sockets[1]}"]\n', 1)
    with contextlib.ExitStack() as stack:
        back = Restarted(lambda: worker(here), sockets[0])
        stack.callback(back.close)
        front = Restarted(lambda: gateway(here, config), sockets[1])
        stack.callback(front.close)
        address = front.program.address
        load = stack.enter_context(Load(address, ORDINARY, timeout=_TIMEOUT))
        family = stack.enter_context(
            Load(address, (_FAMILY,), clients=2, rate=10.0, timeout=_TIMEOUT)
        )
        asker = Client(address, kept=False)
        waits: list[float] = []
        for number in range(count):
            (back if number % 2 == 0 else front).restart(_STOPS[number // 2 % len(_STOPS)])
            waits.append(wait_for(lambda: asker.ask(_FAMILY).right, "the chain works again"))
        family.stop()
        load.stop()
    _judge(verdict, count, (back, front), load.samples + family.samples)
    verdict.note(f"right answers after at most {max(waits):.1f} s, median {median(waits):.1f} s")


def _judge(
    verdict: Verdict, count: int, restarted: tuple[Restarted, ...], samples: list[Sample]
) -> None:
    wrong = [sample for sample in samples if not sample.right]
    verdict.note(
        f"{count} restarts; {len(samples)} requests, {len(wrong)} without the right answer while a"
        f" program was away: {troubles(wrong)}"
    )
    hanging = sum("TimeoutError" in sample.trouble for sample in wrong)
    verdict.require(not hanging, f"{hanging} clients waited {_TIMEOUT:g} s in vain")
    for what in ("late", "orphans", "sockets"):
        found = sum(getattr(each, what) for each in restarted)
        names = {"late": f"stops took longer than {_STOP:g} s", "orphans": "orphans",
                 "sockets": "stale sockets"}  # fmt: skip
        verdict.require(not found, f"{found} {names[what]}")


TRIAL: Final = Trial(
    "restarts",
    f"{_RESTARTS} stops (SIGQUIT, SIGTERM, SIGINT) and starts of worker and gateway under load; the"
    " application keeps a multiprocessing pool, forks, and runs programs",
    "no orphan, no stale socket, no hanging client",
    run,
)
