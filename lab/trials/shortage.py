"""What the trials of missing resources share: before, during and after, and what has to hold."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from chainlab.transport import Address
from lab.trials.load import ORDINARY, Ask, Load, Sample, ms, require_right, rest, troubles
from lab.trials.programs import Program
from lab.trials.trial import Settings, Verdict

_AGAIN: Final = 0.1  # seconds

LENGTH: Final = 10.0  # seconds that a resource is missing, in a run of 60 s
RECOVERY: Final = 1.0  # seconds after which everything works again
REFUSALS: Final = (503, 507)
TO_HOLD: Final = (
    "only requests that need it fail, with 503 or 507; no process ends; normal again within 1 s"
)


@dataclass
class Shortage:
    """A resource that goes missing and comes back, and the requests that need it."""

    begin: Callable[[], None]  # called again every 0.1 s: what is freed meanwhile is taken, too
    end: Callable[[], None]
    needy: Sequence[Ask]
    needy_clients: int = 2
    needy_rate: float = 10.0
    needy_kept: bool = True
    ordinary: Sequence[Ask] = ORDINARY
    ordinary_refused: bool = False  # ordinary requests may need the resource, too
    must_hurt: bool = True  # some needy request has to fail, else nothing was missing


def length(settings: Settings) -> float:
    """Return the seconds for which a resource is missing."""
    return max(1.0, LENGTH * settings.seconds / 60.0)


def endure(
    settings: Settings,
    verdict: Verdict,
    address: Address,
    shortage: Shortage,
    programs: Collection[Program],
) -> None:
    """Load the gateway at `address` before, while and after the resource is missing; judge."""
    needy = Load(
        address,
        shortage.needy,
        clients=shortage.needy_clients,
        rate=shortage.needy_rate,
        kept=shortage.needy_kept,
    )
    with Load(address, shortage.ordinary) as load, needy:
        rest(length(settings) / 5)
        before = [program.processes() for program in programs]
        begun = rest(0)
        while time.monotonic() < begun + length(settings):
            shortage.begin()
            rest(_AGAIN)
        shortage.end()
        ended = rest(0)
        rest(RECOVERY + length(settings) / 2)
        needy.stop()
        load.stop()
    after = [program.processes() for program in programs]
    verdict.require(before == after, f"{sum(map(len, before))} processes, the same after: "
                    f"{'yes' if before == after else 'NO'}")  # fmt: skip
    _judge_ordinary(verdict, load.between(begun), shortage.ordinary_refused)
    _judge_needy(verdict, shortage, needy.between(begun, ended))
    _judge_recovery(settings, verdict, needy.between(ended) + load.between(ended), ended)


def _judge_ordinary(verdict: Verdict, samples: list[Sample], may_be_refused: bool) -> None:
    if not may_be_refused:
        require_right(verdict, samples, "ordinary requests")
        return
    wrong = [s for s in samples if not s.right and s.status not in REFUSALS]
    refused = sum(not s.right for s in samples) - len(wrong)
    text = f"{len(samples)} ordinary requests, {refused} refused with 503, {len(wrong)} failed"
    verdict.require(not wrong, f"{text}: {troubles(wrong)}" if wrong else text)


def _judge_needy(verdict: Verdict, shortage: Shortage, samples: list[Sample]) -> None:
    refused = [s for s in samples if not s.right and s.status in REFUSALS]
    other = [s for s in samples if not s.right and s.status not in REFUSALS]
    text = f"{len(samples)} requests that need it, {len(refused)} refused: {troubles(refused)}"
    verdict.require(bool(refused) or not shortage.must_hurt, text if refused else text[:-2])
    verdict.require(not other, f"{len(other)} failed otherwise {troubles(other)}".strip())


def _judge_recovery(
    settings: Settings, verdict: Verdict, samples: list[Sample], ended: float
) -> None:
    wrong = [sample for sample in samples if not sample.right]
    last = max((sample.begun - ended for sample in wrong), default=0.0)
    text = "normal at once after the end" if not wrong else f"last failure {ms(last)} after the end"
    verdict.require(last <= RECOVERY * settings.slack, text)
