"""Sends mutated bytes from several sides, and checks between them that all is well."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from chainlab.transport import Address
from lab.trials.load import BYTES, ECHO, HELLO, Client
from lab.trials.programs import Program, resident_mib
from lab.trials.trial import Settings, Verdict

AMOUNT: Final = 10_000_000
"""Bytes of a run of 60 s."""

HANG: Final = 20.0
"""Seconds without a byte or the end of a connection."""

_SIDES: Final = 8  # connections at the same time
_EVERY: Final = 100  # connections between two valid requests
_GROWTH: Final = 64.0  # MiB


class Fuzz:
    """Sends mutated bytes until there were enough; counts hangs and wrong answers to valid ones."""

    def __init__(
        self,
        settings: Settings,
        send: Callable[[int], int],
        valid: Address,
        watched: Sequence[Program],
    ) -> None:
        self._total = settings.scaled(AMOUNT, 100_000)
        self._send = send
        self._valid = valid
        self._watched = watched
        self._lock = threading.Lock()
        self.sent = self.connections = self.checks = self.hangs = 0
        self.wrong: list[str] = []
        self._before = [program.processes() for program in watched]
        self._memory = 0.0
        self._first = resident_mib(set().union(*self._before))

    def run(self) -> None:
        """Send from several sides at once."""
        with ThreadPoolExecutor(_SIDES) as sides:
            for ending in [sides.submit(self._side, number) for number in range(_SIDES)]:
                ending.result()

    def _side(self, number: int) -> None:
        client = Client(self._valid, timeout=HANG)
        connection = number
        while self.sent < self._total:
            hung, sent = False, 0
            try:
                sent = self._send(connection)
            except TimeoutError:
                hung = True
            connection += _SIDES
            with self._lock:
                self.sent += sent
                self.connections += 1
                self.hangs += hung
                due = self.connections % _EVERY == 0
            if due:
                self._check(client)
        self._check(client)
        client.close()

    def _check(self, client: Client) -> None:
        for ask in (HELLO, ECHO, BYTES):
            sample = client.ask(ask)
            with self._lock:
                self.checks += 1
                if not sample.right:
                    self.wrong.append(sample.trouble)
        memory = resident_mib(set().union(*(program.processes() for program in self._watched)))
        with self._lock:
            self._memory = max(self._memory, memory)

    def judge(self, verdict: Verdict) -> None:
        """Report; nothing may have crashed, hung or grown."""
        verdict.note(f"{self.sent} mutated bytes in {self.connections} connections")
        after = [program.processes() for program in self._watched]
        lost = sum(len(old - new) for old, new in zip(self._before, after, strict=True))
        verdict.require(not lost, f"{lost} processes ended")
        verdict.require(not self.hangs, f"{self.hangs} connections open after {HANG:g} s")
        what = ", ".join(f"{n} × {why}" for why, n in Counter(self.wrong).most_common(3))
        verdict.require(
            not self.wrong,
            f"{self.checks} valid requests between them, {len(self.wrong)} wrong {what}",
        )
        growth = self._memory - self._first
        verdict.require(growth < _GROWTH, f"memory grew by at most {growth:.0f} MiB")
